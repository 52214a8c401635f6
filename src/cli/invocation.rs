//! By which name the program was called: as `kubectl-hearthgate` (a symbolic link) it is a plugin of kubectl.

use std::path::Path;

/// The file name by which kubectl finds the plugin.
const PLUGIN: &str = "kubectl-hearthgate";

/// The one by which its completion finds what completes the plugin.
const PLUGIN_COMPLETION: &str = "kubectl_complete-hearthgate";

/// Whether kubectl calls, or its completion.
pub(super) fn is_kubectl_plugin() -> bool {
    is_called(PLUGIN) || is_kubectl_completion()
}

/// Whether kubectl's completion asks what may stand where the cursor is.
pub(super) fn is_kubectl_completion() -> bool {
    is_called(PLUGIN_COMPLETION)
}

fn is_called(name: &str) -> bool {
    std::env::args_os().next().is_some_and(|program| has_name(Path::new(&program), name))
}

fn has_name(program: &Path, name: &str) -> bool {
    program.file_stem().is_some_and(|stem| stem == name)
}

/// The command line in the words that kubectl's users type.
pub(super) fn as_plugin(command: clap::Command) -> clap::Command {
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    renamed(command, &names).bin_name("kubectl hearthgate")
}

fn renamed(mut command: clap::Command, names: &[String]) -> clap::Command {
    let reworded = |text: Option<&clap::builder::StyledStr>| text.map(|text| in_kubectl(&text.to_string(), names));
    if let Some(text) = reworded(command.get_after_help()) {
        command = command.after_help(text);
    }
    if let Some(text) = reworded(command.get_about()) {
        command = command.about(text);
    }
    if let Some(text) = reworded(command.get_long_about()) {
        command = command.long_about(text);
    }
    command.mut_subcommands(|below| renamed(below, names))
}

/// The text with `kubectl` before each call of a command.
fn in_kubectl(text: &str, names: &[String]) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("hearthgate ") {
        let (before, call) = rest.split_at(at);
        let words = call.split_at("hearthgate ".len());
        let is_word = !before.ends_with(|character: char| character.is_alphanumeric() || "/-.".contains(character));
        let is_call = names.iter().any(|name| {
            let after = words.1.strip_prefix(name.as_str());
            after.is_some_and(|after| !after.starts_with(|next: char| next.is_alphanumeric() || "-/.".contains(next)))
        });
        result.push_str(before);
        if is_word && is_call && !before.ends_with("kubectl ") {
            result.push_str("kubectl ");
        }
        result.push_str(words.0);
        rest = words.1;
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_is_told_by_the_name_of_the_file() {
        assert!(has_name(Path::new("/usr/local/bin/kubectl-hearthgate"), PLUGIN));
        assert!(has_name(Path::new("kubectl-hearthgate.exe"), PLUGIN));
        assert!(!has_name(Path::new("/usr/local/bin/hearthgate"), PLUGIN));
    }

    #[test]
    fn calls_are_those_of_the_plugin_and_other_words_stay() {
        let names = ["status".to_owned(), "pem".to_owned(), "new".to_owned()];
        let text = "Examples:\n  hearthgate status\n  TOKEN=$(hearthgate pem x) `hearthgate new`: the namespace hearthgate status.hearthgate newer";
        let expected = "Examples:\n  kubectl hearthgate status\n  TOKEN=$(kubectl hearthgate pem x) `kubectl hearthgate new`: the namespace hearthgate status.hearthgate newer";
        assert_eq!(in_kubectl(text, &names), expected);
    }
}
