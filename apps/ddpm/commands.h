#pragma once

namespace CLI {
class App;
}

namespace ddpm::app {

inline constexpr const char* kVersion = "0.1.0";

/// Exit codes besides 0: 2 for the caller's mistakes, 1 for the machine's, 130 and 143 for a run
/// that SIGINT and SIGTERM ended after a save.
inline constexpr int kCallerMistake = 2;
inline constexpr int kMachineFault = 1;

// Each adds one subcommand. Its callback does the work, throws as the library does, and sets
// `exit_code` where a run ends early but well.
void add_train_command(CLI::App& app, int& exit_code);
void add_sample_command(CLI::App& app);
void add_edit_command(CLI::App& app);
void add_eval_command(CLI::App& app);
void add_forward_command(CLI::App& app);
void add_serve_command(CLI::App& app, int& exit_code);
void add_info_command(CLI::App& app);
void add_convert_command(CLI::App& app);
void add_bench_serve_command(CLI::App& app);
void add_completion_command(CLI::App& app);

}  // namespace ddpm::app
