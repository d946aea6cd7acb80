#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <set>
#include <string>

#include "commands.h"

namespace ddpm::app {
namespace {

constexpr const char* kShells = "bash zsh fish";

void collect_flags(const CLI::App& command, std::set<std::string>& flags) {
  for (const CLI::Option* option : command.get_options()) {
    for (const auto& name : option->get_lnames()) flags.insert("--" + name);
    for (const auto& name : option->get_snames()) flags.insert("-" + name);
  }
  for (const CLI::App* below : command.get_subcommands({})) collect_flags(*below, flags);
}

/// Every flag of a command and of those below it, "--name" and "-n", separated by spaces.
std::string flags_of(const CLI::App& command) {
  std::set<std::string> flags;
  collect_flags(command, flags);
  std::string text;
  for (const std::string& flag : flags) text += flag + " ";
  return text;
}

std::string command_names(const CLI::App& app) {
  std::string names;
  for (const CLI::App* command : app.get_subcommands({})) names += command->get_name() + " ";
  return names;
}

std::string bash_script(const CLI::App& app) {
  std::string cases;
  for (const CLI::App* command : app.get_subcommands({})) {
    const bool is_this = command->get_name() == "completion";
    const std::string below = command_names(*command);
    cases += "    " + command->get_name() + ") words='" +
             (is_this ? std::string(kShells) : flags_of(*command)) + "' below='" + below + "' ;;\n";
  }
  return "_ddpm() {\n"
         "  local current=${COMP_WORDS[COMP_CWORD]} words below\n"
         "  case ${COMP_WORDS[1]} in\n" +
         cases + "    *) words='" + command_names(app) +
         "' ;;\n"
         "  esac\n"
         "  [ \"$COMP_CWORD\" = 1 ] && words='" +
         command_names(app) +
         "'\n"
         "  [ \"$COMP_CWORD\" = 2 ] && [ -n \"$below\" ] && words=\"$below\"\n"
         "  if [[ $COMP_CWORD = 1 || ($COMP_CWORD = 2 && -n $below) || $current = -* || "
         "${COMP_WORDS[1]} = completion ]]; then\n"
         "    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
         "  else\n"
         "    COMPREPLY=($(compgen -f -- \"$current\"))\n"
         "  fi\n"
         "}\n"
         "complete -o filenames -F _ddpm ddpm\n";
}

std::string fish_flags(const CLI::App& command, const std::string& here) {
  std::string script;
  for (const CLI::Option* option : command.get_options()) {
    for (const auto& flag : option->get_lnames()) script += here + "-l " + flag + "\n";
  }
  return script;
}

std::string fish_script(const CLI::App& app) {
  std::string script;
  for (const CLI::App* command : app.get_subcommands({})) {
    const std::string& name = command->get_name();
    std::string about = command->get_description();
    about = about.substr(0, about.find('\n'));
    script += "complete -c ddpm -n __fish_use_subcommand -a " + name + " -d '" + about + "'\n";
    const std::string here = "complete -c ddpm -n '__fish_seen_subcommand_from " + name + "' ";
    for (const CLI::App* below : command->get_subcommands({})) {
      script += here + "-a " + below->get_name() + "\n";
      script += fish_flags(*below, here);
    }
    script += fish_flags(*command, here);
  }
  return script;
}

}  // namespace

void add_completion_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "completion",
      "Print a completion script for a shell.\n\nExamples:\n"
      "  source <(ddpm completion bash)\n"
      "  autoload bashcompinit && bashcompinit && source <(ddpm completion zsh)\n"
      "  ddpm completion fish > ~/.config/fish/completions/ddpm.fish");
  const auto shell = std::make_shared<std::string>();
  command->add_option("shell", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->callback([&app, shell] {
    // zsh reads bash's script through bashcompinit.
    std::fputs((*shell == "fish" ? fish_script(app) : bash_script(app)).c_str(), stdout);
  });
}

}  // namespace ddpm::app
