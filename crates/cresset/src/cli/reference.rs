//! `docs/reference/cli.md`, from the command line itself. `UPDATE_DOCS=1 cargo test -p cresset` writes it; without that
//! a stale page fails the test.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Arg, Command, CommandFactory as _};

use super::Cli;
use crate::exit::Exit;

const GENERATED: &str = "<!-- Written by `UPDATE_DOCS=1 cargo test -p cresset reference`; do not edit. -->";

#[test]
fn the_reference_page_is_not_stale() {
    let page = page();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page,
        "docs/reference/cli.md is stale; run `UPDATE_DOCS=1 cargo test -p cresset reference`"
    );
}

#[test]
fn every_command_has_an_example_and_every_argument_its_words() {
    for (path, command) in commands() {
        if command.get_subcommands().next().is_some() && path == "cresset" {
            continue;
        }
        let example = command
            .get_after_help()
            .is_some_and(|text| text.to_string().contains(&path));
        assert!(example, "{path} has no example");
        for argument in arguments(&command) {
            assert!(
                argument.get_help().is_some(),
                "{path} {} has no words",
                argument.get_id()
            );
        }
    }
}

#[test]
fn help_reads_well() {
    let mut text = String::new();
    for (path, mut command) in commands() {
        let help = command.render_long_help();
        writeln!(text, "$ {path} --help\n{help}").unwrap();
    }
    insta::assert_snapshot!(text);
}

/// Every command with its whole name, as clap finishes it, at a fixed width.
fn commands() -> Vec<(String, Command)> {
    let mut root = Cli::command().term_width(110);
    root.build();
    let mut found = Vec::new();
    collect(&root, root.get_name().to_owned(), &mut found);
    found
}

fn collect(command: &Command, path: String, found: &mut Vec<(String, Command)>) {
    found.push((path.clone(), command.clone()));
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        collect(sub, format!("{path} {}", sub.get_name()), found);
    }
}

fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|argument| {
        !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str())
    })
}

fn page() -> String {
    let mut out = format!("{GENERATED}\n\n# The command line\n\n");
    out.push_str(
        "Data goes to stdout, everything else to stderr. Errors end with a hint. `--help` of each command says what is \
         here.\n\n## Exit status\n\n| status | meaning |\n| --- | --- |\n",
    );
    for (exit, meaning) in Exit::ALL {
        writeln!(out, "| {} | {meaning} |", exit.number()).unwrap();
    }
    for (path, command) in commands() {
        put_command(&path, command, &mut out);
    }
    out
}

fn put_command(path: &str, mut command: Command, out: &mut String) {
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim();
    writeln!(out, "\n## `{path}`\n").unwrap();
    if let Some(about) = command.get_long_about().or_else(|| command.get_about()) {
        writeln!(out, "{}\n", about.to_string().trim()).unwrap();
    }
    writeln!(out, "```text\n{usage}\n```").unwrap();
    let (positional, flags): (Vec<&Arg>, Vec<&Arg>) =
        arguments(&command).partition(|argument| argument.is_positional());
    if !positional.is_empty() || !flags.is_empty() {
        writeln!(out, "\n| argument | what it does |\n| --- | --- |").unwrap();
    }
    for argument in positional.into_iter().chain(flags) {
        put_argument(argument, out);
    }
    let subs: Vec<_> = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .collect();
    if !subs.is_empty() {
        writeln!(out, "\n| command | what it does |\n| --- | --- |").unwrap();
    }
    for sub in subs {
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(out, "| `{path} {}` | {} |", sub.get_name(), cell(&about)).unwrap();
    }
    if let Some(examples) = command
        .get_after_help()
        .map(ToString::to_string)
        .filter(|text| text.starts_with("Examples:"))
    {
        let lines: Vec<_> = examples
            .lines()
            .skip(1)
            .map(|line| line.strip_prefix("  ").unwrap_or(line))
            .collect();
        writeln!(out, "\nExamples:\n\n```sh\n{}\n```", lines.join("\n")).unwrap();
    }
}

fn put_argument(argument: &Arg, out: &mut String) {
    let mut words = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let values = argument.get_possible_values();
    if !values.is_empty()
        && !values
            .iter()
            .any(|value| matches!(value.get_name(), "true" | "false"))
    {
        let names: Vec<_> = values.iter().map(|value| value.get_name()).collect();
        write!(words, " [one of: {}]", names.join(", ")).unwrap();
    }
    if let [default] = argument.get_default_values()
        && argument.get_action().takes_values()
    {
        write!(words, " [default: {}]", default.display()).unwrap();
    }
    if let Some(env) = argument.get_env() {
        write!(words, " [env: {}]", env.display()).unwrap();
    }
    writeln!(
        out,
        "| `{}` | {} |",
        argument.to_string().replace('|', "\\|"),
        cell(&words)
    )
    .unwrap();
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
