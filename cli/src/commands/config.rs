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
    let is_asked = edit == EditArguments::default();
    // A file that cannot be understood is what one runs this command to mend. A script reads no warning, and must not lose the
    // network that the file pins.
    let old = match file.read() {
        Ok(old) => old,
        Err(error) if !is_asked && edit.network.is_none() => {
            return Err(Failure::because("the settings cannot be changed", &error).hint(
                "mend the file or run 'pyrsia config --remove'; with '--network' too, the settings start from their defaults",
            ));
        }
        Err(error) => {
            let why = chain(&error);
            eprintln!("warning: the settings start from their defaults, without the network that the file may name: {why}");
            Settings::default()
        }
    };
    let settings = if is_asked {
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
    fn flags_do_not_take_back_the_network_of_a_file_that_cannot_be_understood() {
        let folder = tempfile::tempdir().unwrap();
        let file = SettingsFile::at(folder.path().join("default-config.toml"));
        let (old, new) = ("ab".repeat(32), "cd".repeat(32));
        let damaged = format!("host = \"localhost\"\nport = 7888\nnetwork = \"{old}\"\n");
        std::fs::write(file.path(), &damaged).unwrap();
        let edit = EditArguments { port: Some("7889".into()), ..EditArguments::default() };
        assert!(change(&file, edit.clone()).is_err());
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), damaged);

        change(&file, EditArguments { network: Some(new.clone()), ..edit }).unwrap();
        let changed = Settings { port: "7889".into(), network: Some(new), ..Settings::default() };
        assert_eq!(file.read().unwrap(), changed);
    }

    #[test]
    fn the_end_of_the_input_keeps_what_was_there() {
        let settings = ask(&Settings::default(), &mut io::Cursor::new("")).unwrap();
        assert_eq!(settings, Settings::default());
    }
}
