//! The dashboard and the alert rules of `docs/monitoring` ask for metrics that a node gives.

use super::fixture::Fixture;
use super::image::Image;
use super::pipeline::Pipeline;
use super::pull::publish;
use std::collections::BTreeSet;

const DASHBOARD: &str = include_str!("../../../docs/monitoring/dashboard.json");
const ALERTS: &str = include_str!("../../../docs/monitoring/alerts.yaml");

/// Every word that begins like a metric of ours.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("pyrsia_")).collect()
}

/// The names of the samples of an exposition.
fn samples_in(exposition: &str) -> BTreeSet<&str> {
    let samples = exposition.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.split(['{', ' ']).next()).collect()
}

/// The parts of a node that metrics are about: the second word of their names.
fn rooms<'a>(metrics: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    metrics.iter().filter(|name| name.starts_with("pyrsia_")).filter_map(|name| name.split('_').nth(1)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_of_the_dashboard_and_the_alerts_is_one_that_a_node_gives() {
    let image = Image::new();
    let pipeline = Pipeline::start(image.files()).await;
    let fixture = Fixture::founded(&pipeline.url).await;
    publish(&fixture, "library/hello:1.0").await;
    let exposition = fixture.text("/metrics").await;
    let given = samples_in(&exposition);
    serde_json::from_str::<serde_json::Value>(DASHBOARD).expect("the dashboard is JSON");
    for (file, text) in [("dashboard.json", DASHBOARD), ("alerts.yaml", ALERTS)] {
        let named = metrics_in(text);
        assert!(named.len() > 5, "{file} names {named:?}");
        let missing: Vec<_> = named.difference(&given).collect();
        assert!(missing.is_empty(), "{file} names what no node gives: {missing:?}\n{exposition}");
    }
    assert_eq!(rooms(&metrics_in(DASHBOARD)), rooms(&given), "the dashboard shows something of every part of a node");
    fixture.stop().await;
}
