use super::*;

fn mapping(rules: &str) -> Result<Mapping, RulesError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mapping");
    std::fs::write(&path, rules).unwrap();
    let config = Config { mapping: MappingLocation::File(path), ..Config::new(folder.path()) };
    Mapping::new(&config)
}

fn request(id: &str) -> MappingInfo {
    MappingInfo {
        package_type: "docker".into(),
        package_specific_id: id.into(),
        source_repository: None,
        build_spec_url: None,
        docker: None,
        program: None,
    }
}

const RULES: &str = r#"
[[rules]]
package_type = "Docker"
package_specific_id = "hello:1.*"
source_repository = { Git = { url = "https://git.example/hello.git", tag = "v{tag}" } }
docker = { dockerfile = "images/Dockerfile", platforms = ["linux/arm64/v8"] }

[[rules]]
package_type = "Docker"
package_specific_id = "team/*"
docker = { builder = "import", upstream = "https://me:secret@registry.example/v" }

[[rules]]
package_type = "Maven2"
package_specific_id = "g:a:v"
"#;

#[tokio::test]
async fn the_first_rule_that_claims_an_image_gives_its_recipe() {
    let mapping = mapping(RULES).unwrap();
    match mapping.recipe(&request("hello:1.2")).await.unwrap() {
        Recipe::Source(recipe) => {
            assert_eq!(recipe.image.to_string(), "library/hello:1.2");
            assert_eq!(recipe.revision, Revision::Tag("v1.2".into()));
            assert_eq!(recipe.dockerfile, Path::new("images/Dockerfile"));
            assert_eq!(recipe.platform.to_string(), "linux/arm64/v8");
        }
        other => panic!("{other:?}"),
    }
    for (id, upstream) in [("team/tool:9", "https://me:secret@registry.example/v"), ("hello:2.0", crate::PUBLIC_DOCKER_UPSTREAM)]
    {
        match mapping.recipe(&request(id)).await.unwrap() {
            Recipe::Import(import) => assert_eq!(import.upstream, Url::parse(upstream).unwrap()),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn json_rules_say_the_same() {
    let json = r#"[{"package_type":"Docker","package_specific_id":"hello:{tag}*",
        "source_repository":{"Git":{"url":"/srv/hello","commit":"0123456789012345678901234567890123456789"}},
        "build_spec_url":null,"docker":{"builder":"source"}}]"#;
    let json = json.replace("hello:{tag}*", "hello:*");
    for text in [json.clone(), format!("{{\"rules\":{json}}}")] {
        let recipe = mapping(&text).unwrap().recipe(&request("hello:3")).await.unwrap();
        assert!(matches!(recipe, Recipe::Source(source) if matches!(source.revision, Revision::Commit(_))));
    }
}

#[test]
fn rules_that_cannot_work_keep_the_service_from_starting_and_are_numbered() {
    let rule = |rest: &str| format!("[[rules]]\npackage_type = \"Docker\"\npackage_specific_id = \"a:1\"\n{rest}");
    for (rest, problem) in [
        ("docker = { builder = \"source\" }", "needs a source_repository"),
        ("docker = { dockerfil = \"x\" }", "unknown field"),
        ("docker = { upstream = \"ftp://x\" }", "no upstream registry"),
        ("source_repository = { Git = { url = \"--x\", tag = \"1\" } }", "dash"),
        ("source_repository = { Git = { url = \"https://git.example/a\" } }", "needs a tag or a commit"),
        (
            "source_repository = { Git = { url = \"https://git.example/a\", tag = \"1\" } }\ndocker = { context = \"../x\" }",
            "no path inside",
        ),
        ("docker = { platforms = [\"linux/amd64\", \"linux/arm64\"] }", "one platform"),
    ] {
        let error = mapping(&rule(rest)).unwrap_err().to_string();
        assert!(error.contains(problem), "{rest}: {error}");
    }
    let second = format!("{}\n{}", rule(""), rule("docker = { builder = \"source\" }"));
    assert!(mapping(&second).unwrap_err().to_string().starts_with("rule 2 "));
}

#[tokio::test]
async fn what_cannot_be_built_is_said_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let mapping = Mapping::new(&Config { upstream: None, ..Config::new(folder.path()) }).unwrap();
    let refused = async |request: MappingInfo| mapping.recipe(&request).await.unwrap_err();
    assert!(matches!(refused(request("alpine:3.16.0")).await, MappingError::NoMapping(_)));
    assert!(matches!(refused(request("alpine")).await, MappingError::ImageName(_)));
    assert!(matches!(
        refused(MappingInfo { package_type: "Maven2".into(), ..request("g:a:v") }).await,
        MappingError::NoBuilder(_)
    ));
    let refused = refused(MappingInfo { package_type: "Cargo".into(), ..request("x") }).await.to_string();
    assert!(refused.contains("no builder for cargo packages: start it with --builder-program cargo=PATH"), "{refused}");
}

#[tokio::test]
async fn a_request_that_carries_its_source_needs_no_mapping() {
    let folder = tempfile::tempdir().unwrap();
    let mapping = Mapping::new(&Config { upstream: None, ..Config::new(folder.path()) }).unwrap();
    let source = SourceRepository::Git { url: "https://git.example/a".into(), tag: Some("1".into()), commit: None };
    let request = MappingInfo { source_repository: Some(source), ..request("a:1") };
    assert!(matches!(mapping.recipe(&request).await.unwrap(), Recipe::Source(_)));
}

const PACKAGE_RULES: &str = r#"
[[rules]]
package_type = "Cargo"
package_specific_id = "@team/*@*"
source_repository = { Git = { url = "https://git.example/{name}.git", tag = "{last}-v{version}" } }
program = { network = true, recipe = { folder = "packages/{last}", list = ["{version}", 1, { of = "{name}" }] } }

[[rules]]
package_type = "cargo"
package_specific_id = "tool"
source_repository = { Git = { url = "/srv/tool", tag = "v{version}" } }

[[rules]]
package_type = "Maven2"
package_specific_id = "org.example:*:1.*"
source_repository = { Git = { url = "/srv/example", tag = "rel/{version}" } }
"#;

fn with_programs(rules: &str) -> Mapping {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mapping");
    std::fs::write(&path, rules).unwrap();
    let builder_programs = ["cargo", "maven"].map(|word| BuilderProgram::new(word, "/bin/sh").unwrap()).to_vec();
    let config = Config { mapping: MappingLocation::File(path), builder_programs, ..Config::new(folder.path()) };
    Mapping::new(&config).unwrap()
}

#[tokio::test]
async fn rules_for_other_types_give_what_their_program_is_told() {
    let mapping = with_programs(PACKAGE_RULES);
    let asked = |package_type: &str, id: &str| MappingInfo { package_type: package_type.into(), ..request(id) };
    let Recipe::Program(recipe) = mapping.recipe(&asked("CARGO", "@team/left@1.2")).await.unwrap() else { panic!() };
    assert_eq!(recipe.url.to_string(), "https://git.example/@team/left.git");
    assert_eq!(recipe.revision, Revision::Tag("left-v1.2".into()));
    assert!(recipe.options.network);
    let wanted = serde_json::json!({ "folder": "packages/left", "list": ["1.2", 1, { "of": "@team/left" }] });
    assert_eq!(serde_json::Value::Object(recipe.options.recipe), wanted);

    for word in ["Maven", "maven2", "maven"] {
        let Recipe::Program(recipe) = mapping.recipe(&asked(word, "org.example:lib:1.0")).await.unwrap() else { panic!() };
        assert_eq!((recipe.revision, recipe.options.network), (Revision::Tag("rel/1.0".into()), false));
    }
    for (word, id, part) in [
        ("maven", "org.example:lib:2.0", "no mapping found for package maven org.example:lib:2.0"),
        ("cargo", "org.example:lib:1.0", "no mapping found for package cargo"),
        ("cargo", "tool", "the package has none"),
        ("cargo", "a b", "no package id"),
    ] {
        let refused = mapping.recipe(&asked(word, id)).await.unwrap_err().to_string();
        assert!(refused.contains(part), "{refused}");
    }
}

#[test]
fn rules_of_one_type_have_no_section_of_another() {
    for (package_type, section) in [("Docker", "program"), ("cargo", "docker")] {
        let rule = format!("[[rules]]\npackage_type = \"{package_type}\"\npackage_specific_id = \"a:1\"\n{section} = {{}}");
        let error = mapping(&rule).unwrap_err().to_string();
        assert!(error.contains(&format!("is not built with a section `{section}`")), "{error}");
    }
}
