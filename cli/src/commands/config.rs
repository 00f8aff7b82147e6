//! `pyrsia config`: shows, changes and removes the settings; by flags, or by questions on the terminal.

use super::print;
use crate::arguments::{ConfigArguments, ConfigCommand, EditArguments};
use crate::exit::{Failure, chain};
use crate::settings::{Settings, SettingsError, SettingsFile, is_disk, is_host, is_port};
use std::io::{self, BufRead};

pub(super) fn run(arguments: ConfigArguments) -> Result<(), Failure> {
    let file = SettingsFile::of_user().map_err(|error| Failure::because("the settings have no place", &error))?;
    match arguments.command {
        Some(ConfigCommand::Edit(edit)) => change(&file, edit),
        None if arguments.remove => {
            file.remove().map_err(|error| Failure::because("Error removing node configuration", &error))?;
            print("Node configuration removed !!\n")
        }
        None => show(&file),
    }
}

fn show(file: &SettingsFile) -> Result<(), Failure> {
    let read = || {
        let settings = file.read()?;
        if !file.path().exists() {
            file.write(&settings)?;
        }
        Ok(settings)
    };
    let settings = read().map_err(|error: SettingsError| Failure::because("Error reading node configuration", &error))?;
    print(&format!("Config file path: {}\n{}\n", file.path().display(), settings.to_toml()))
}

fn change(file: &SettingsFile, edit: EditArguments) -> Result<(), Failure> {
    // A file that cannot be understood is what one runs this command to mend.
    let old = file.read().unwrap_or_else(|error| {
        eprintln!("warning: the settings start from their defaults: {}", chain(&error));
        Settings::default()
    });
    let settings = if edit == EditArguments::default() {
        ask(&old, &mut io::stdin().lock()).map_err(|error| Failure::because("Error saving node configuration", &error))?
    } else {
        Settings {
            host: edit.host.unwrap_or(old.host),
            port: edit.port.unwrap_or(old.port),
            disk_allocated: edit.diskspace.unwrap_or(old.disk_allocated),
            network: edit.network.or(old.network).filter(|id| !id.is_empty()),
        }
    };
    match file.write(&settings) {
        Ok(()) => print("Node configuration Saved !!\n"),
        Err(error) => {
            if let SettingsError::Invalid(values) = &error {
                let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
                print(&lines)?;
            }
            Err(Failure::because("Error saving node configuration", &error))
        }
    }
}

/// Asks for each value until it is one that can be used; an empty line keeps the value in brackets.
fn ask(old: &Settings, answers: &mut impl BufRead) -> io::Result<Settings> {
    let said = |text: String| print(&text).map_err(|failure| io::Error::other(failure.to_string()));
    let mut question = |text: &str, kept: &str, valid: fn(&str) -> bool| loop {
        said(format!("{text}: [{kept}]\n"))?;
        let mut line = String::new();
        if answers.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok::<String, io::Error>(kept.to_owned());
        }
        let answer = line.trim();
        if valid(answer) {
            return Ok(answer.to_owned());
        }
        said(format!("{answer:?} cannot be used here\n"))?;
    };
    Ok(Settings {
        host: question("Enter host", &old.host, is_host)?,
        port: question("Enter port", &old.port, is_port)?,
        disk_allocated: question(
            "Enter disk space to be allocated to pyrsia(Please enter with units ex: 10 GB)",
            &old.disk_allocated,
            is_disk,
        )?,
        network: old.network.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_asked_again_until_the_answer_can_be_used() {
        let mut answers = io::Cursor::new("not a host\nnode.example\n\n10GB\n5 GB\n");
        let settings = ask(&Settings::default(), &mut answers).unwrap();
        let answered = Settings { host: "node.example".into(), disk_allocated: "5 GB".into(), ..Settings::default() };
        assert_eq!(settings, answered);
    }

    #[test]
    fn the_end_of_the_input_keeps_what_was_there() {
        let settings = ask(&Settings::default(), &mut io::Cursor::new("")).unwrap();
        assert_eq!(settings, Settings::default());
    }
}
