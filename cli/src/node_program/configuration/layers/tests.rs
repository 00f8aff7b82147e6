use super::super::show;
use super::*;
use proptest::prelude::*;
use std::ffi::OsStr;
use std::fs;

type Words = BTreeMap<String, Vec<String>>;

fn gather(line: &[String], variables: &BTreeMap<String, String>) -> Layers {
    let line = std::iter::once("pyrsia_node".to_owned()).chain(line.iter().cloned()).map(OsString::from).collect();
    Layers::gather(line, &|name| variables.get(name).map(OsString::from)).unwrap_or_else(|error| panic!("{error}"))
}

fn words(effective: &[Effective<'_>]) -> Words {
    let words = |words: &[OsString]| words.iter().map(|word| word.to_str().expect("UTF-8").to_owned()).collect();
    effective.iter().map(|effective| (effective.setting.id.clone(), words(&effective.words))).collect()
}

fn toml_of(settings: &[Setting], file: &Words) -> String {
    settings.iter().filter_map(|setting| Some((setting, file.get(&setting.id)?))).fold(String::new(), |text, (setting, words)| {
        let words: Vec<String> = words.iter().map(|word| show::scalar(setting, OsStr::new(word)).expect("UTF-8")).collect();
        let value = if setting.repeated { format!("[{}]", words.join(",")) } else { words[0].clone() };
        format!("{text}{}.{} = {value}\n", setting.section, setting.key)
    })
}

/// Values that the setting takes, of those that settings of every kind take.
fn samples(setting: &Setting) -> Vec<String> {
    let hex = "ab".repeat(32);
    let words = [
        "true",
        "false",
        "1",
        "2",
        "3",
        "5s",
        "2h",
        "10KiB",
        "7GB",
        "/some/path",
        "/other path/ä",
        "http://a.example/",
        "https://b.example/x",
        "192.0.2.1",
        "192.0.2.2",
        "/ip4/192.0.2.1/tcp/1",
        "/ip4/192.0.2.2/udp/2/quic-v1",
        "text",
        "json",
        "-name",
        hex.as_str(),
    ];
    let suits = |word: &str| match setting.kind {
        Kind::Boolean => matches!(word, "true" | "false"),
        Kind::Path => word.starts_with('/'),
        _ => setting.check(OsStr::new(word)).is_ok(),
    };
    words.into_iter().filter(|word| suits(word)).map(str::to_owned).collect()
}

/// For each setting whether file, environment and flag give it, and which of its sample values.
fn sources() -> impl Strategy<Value = [Words; 3]> {
    let settings = setting::all(&command());
    let each: Vec<_> = settings
        .into_iter()
        .map(|setting| {
            let samples = samples(&setting);
            let most = if setting.repeated { 3 } else { 2 };
            let is_bare_flag = setting.is_bare_flag;
            let one = move || {
                if samples.is_empty() {
                    return Just(None).boxed();
                }
                prop::option::weighted(0.3, prop::collection::vec(prop::sample::select(samples.clone()), 1..most)).boxed()
            };
            // A flag without a value can only say yes.
            let flag = one().prop_map(move |words| words.filter(|words| !is_bare_flag || words == &["true"]));
            (Just(setting.id), one(), one(), flag)
        })
        .collect();
    each.prop_map(|each| {
        let mut sources = [Words::new(), Words::new(), Words::new()];
        for (id, file, environment, flag) in each {
            for (source, words) in sources.iter_mut().zip([file, environment, flag]) {
                source.extend(words.map(|words| (id.clone(), words)));
            }
        }
        sources
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_flag_wins_over_a_variable_a_variable_over_the_file_and_what_is_shown_reads_back([file, environment, flags] in sources()) {
        let settings = setting::all(&command());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.toml");
        fs::write(&path, toml_of(&settings, &file)).unwrap();
        let by_id = |id: &String| settings.iter().find(|setting| setting.id == *id).expect("a setting");
        let variables: BTreeMap<String, String> =
            environment.iter().map(|(id, words)| (by_id(id).variable.clone(), words.join(","))).collect();
        let mut line = vec!["--config".to_owned(), path.to_str().unwrap().to_owned()];
        for (id, words) in &flags {
            let setting = by_id(id);
            line.extend(words.iter().map(|word| if setting.is_bare_flag { format!("--{}", setting.long) } else { format!("--{}={word}", setting.long) }));
        }
        let layers = gather(&line, &variables);
        prop_assert_eq!(&layers.findings, &[]);
        // Some settings go only with others.
        let Ok((_, effective)) = layers.arguments() else { return Err(TestCaseError::reject("settings that do not go together")) };
        let defaults = words(&gather(&[], &BTreeMap::new()).arguments().unwrap().1);
        let shown = words(&effective);
        for effective in &effective {
            let id = &effective.setting.id;
            let is_right_place = match &effective.place {
                Place::Flag(_) => flags.contains_key(id),
                Place::Variable(_) => environment.contains_key(id) && !flags.contains_key(id),
                Place::File { .. } => file.contains_key(id) && !environment.contains_key(id) && !flags.contains_key(id),
                Place::WholeFile(_) | Place::Together => false,
                Place::Default => [&file, &environment, &flags].iter().all(|source| !source.contains_key(id)),
            };
            prop_assert!(is_right_place, "{}: {}", id, effective.place);
            let given = flags.get(id).or(environment.get(id)).or(file.get(id));
            // Where the folder is another, so are the places below it.
            if given.is_some() || effective.setting.section != "folders" {
                prop_assert_eq!(&shown[id], given.unwrap_or(&defaults[id]), "{}", id);
            }
        }
        let copy = folder.path().join("shown.toml");
        fs::write(&copy, show::as_toml(&effective)).unwrap();
        let again = gather(&["--config".to_owned(), copy.to_str().unwrap().to_owned()], &BTreeMap::new());
        prop_assert_eq!(&again.findings, &[]);
        prop_assert_eq!(words(&again.arguments().unwrap().1), shown);
    }
}

#[test]
fn a_mistake_on_the_command_line_is_not_mistaken_for_one_of_the_file() {
    let variables: BTreeMap<String, String> = [("PYRSIA_PORT".to_owned(), "7889".to_owned())].into();
    let line = ["pyrsia_node", "--port", "x"].map(OsString::from).to_vec();
    let error = Layers::gather(line, &|name| variables.get(name).map(OsString::from)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ValueValidation);
    let layers = gather(&["--listen-only".to_owned(), "config".to_owned(), "show".to_owned()], &variables);
    let (arguments, _) = layers.arguments().unwrap();
    assert!(arguments.listen_only && arguments.port == 7889);
}

#[test]
fn dev_mode_is_read_as_it_always_was() {
    for (value, on) in [("on", true), ("1", true), ("TRUE", true), ("off", false), ("yes", false), ("", false)] {
        let variables = [("DEV_MODE".to_owned(), value.to_owned())].into();
        assert_eq!(gather(&[], &variables).arguments().unwrap().0.folders.dev_mode, on, "{value}");
    }
}

#[test]
fn the_file_to_check_is_that_of_the_command_then_of_the_flag_then_of_the_variable() {
    let variables: BTreeMap<String, String> = [("PYRSIA_CONFIG".to_owned(), "variable.toml".to_owned())].into();
    for (line, file) in [
        ("config check named.toml", Some("named.toml")),
        ("--config flag.toml config check named.toml", Some("named.toml")),
        ("--config flag.toml config check", Some("flag.toml")),
        ("config check", Some("variable.toml")),
        ("", Some("variable.toml")),
    ] {
        let line: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let layers = gather(&line, &variables);
        assert_eq!(layers.file.as_deref(), file.map(std::path::Path::new), "{line:?}");
        assert!(layers.has_errors(), "a file that was named and is missing is an error");
    }
    assert_eq!(gather(&[], &BTreeMap::new()).file, None);
}
