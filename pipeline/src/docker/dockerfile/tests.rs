use proptest::prelude::*;

use super::*;

fn refusal(text: &str) -> (usize, String, String) {
    let error = parse(text).unwrap_err();
    (error.line, error.instruction, error.problem)
}

#[test]
fn a_whole_file_is_read() {
    let file = parse(
        "# syntax=docker/dockerfile:1\n# escape=`\n\nARG BASE=alpine\n# a comment\nFROM --platform=linux/amd64 ${BASE}:3 AS only\n\
         copy --chown=1:2 a b `\n  # inside\n\n  /c/\nENV A=1 B=\"x y\" C=z\nENV OLD old form  stays\nLABEL a.b='c d'\n\
         ENTRYPOINT [\"/bin/x\", \"-y\"]\nCMD echo $HOME\nEXPOSE 80 443/udp\nVOLUME [\"/data\"]\nWORKDIR /w\nUSER 10:20\n",
    )
    .unwrap();
    assert_eq!(file.escape, '`');
    assert_eq!(file.from, From { line: 6, image: "${BASE}:3".into(), platform: Some("linux/amd64".into()) });
    assert_eq!(file.global_arguments[0].default.as_deref(), Some("alpine"));
    let actions: Vec<&Action> = file.steps.iter().map(|step| &step.action).collect();
    let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        actions[0],
        &Action::Copy(Copy {
            keyword: CopyKeyword::Copy,
            sources: text(&["a", "b"]),
            destination: "/c/".into(),
            chown: Some("1:2".into()),
            chmod: None
        })
    );
    assert_eq!(file.steps[0].line, 7);
    assert_eq!(
        actions[1],
        &Action::Env(vec![("A".into(), "1".into()), ("B".into(), "\"x y\"".into()), ("C".into(), "z".into())])
    );
    assert_eq!(actions[2], &Action::Env(vec![("OLD".into(), "old form  stays".into())]));
    assert_eq!(actions[4], &Action::Entrypoint(text(&["/bin/x", "-y"])));
    assert_eq!(actions[5], &Action::Cmd(text(&["/bin/sh", "-c", "echo $HOME"])));
    assert_eq!(actions[7], &Action::Volume(text(&["/data"])));
}

#[test]
fn what_is_not_covered_is_refused_by_line_and_instruction_with_a_way_out() {
    for (line, way_out) in [
        ("RUN apk add curl", "docker engine"),
        ("STOPSIGNAL SIGINT", "docker engine"),
        ("COPY --from=build /a /b", "docker engine"),
        ("COPY --link a b", "leave it out"),
        ("COPY <<EOF /a", "into a file"),
        ("FROM scratch", "docker engine"),
        ("MAINTAINER me", "LABEL"),
        ("FETCH a b", "no instruction"),
        ("COPY a", "at least one source"),
        ("ENV A", "key=value"),
        ("ENV A=1 B", "key=value"),
        ("ARG 1x", "no name"),
        ("USER", "no arguments"),
        ("ENV --x A=1", "not known"),
    ] {
        let (number, instruction, problem) = refusal(&format!("FROM scratch\n\n{line}\n"));
        assert_eq!(number, 3, "{line}");
        assert_eq!(instruction, line.split(' ').next().unwrap());
        assert!(problem.contains(way_out), "{line}: {problem}");
    }
    assert_eq!(refusal("").0, 1);
    assert_eq!(refusal("COPY a b\nFROM scratch").1, "COPY");
    assert!(refusal("# syntax=me/mine:1\nFROM scratch").2.contains("docker engine"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_a_line_of_the_file(text in "\\PC{0,400}") {
        if let Err(error) = parse(&text) {
            prop_assert!((1..=text.lines().count().max(1)).contains(&error.line));
        }
    }

    #[test]
    fn text_like_a_dockerfile_never_panics_anywhere(
        lines in prop::collection::vec(
            "(FROM|COPY|ADD|ENV|LABEL|ARG|CMD|ENTRYPOINT|EXPOSE|VOLUME|WORKDIR|USER|HEALTHCHECK|RUN|#)[ \\t](--[a-z]{0,5}=?)?[a-z$\\{\\}:\\-\"'\\\\\\[\\], =/`<]{0,30}\\\\?",
            0..12)
    ) {
        let text = lines.join("\n");
        match parse(&text) {
            Err(error) => prop_assert!((1..=lines.len().max(1)).contains(&error.line)),
            Ok(file) => {
                for step in &file.steps {
                    let _ = expand::expand(&step.text, file.escape, &|_| Some("v".to_owned()));
                }
            }
        }
    }

    #[test]
    fn a_refusal_names_the_line_it_stands_on(before in 0_usize..40, after in 0_usize..5) {
        let text = format!("FROM scratch\n{}RUN x\n{}", "ENV a=1 \\\n b=2\n".repeat(before), "CMD x\n".repeat(after));
        prop_assert_eq!(parse(&text).unwrap_err().line, 2 + 2 * before);
    }
}
