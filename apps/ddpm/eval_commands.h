#pragma once

namespace CLI {
class App;
}

namespace ddpm::app {

// Subcommands of `ddpm eval`; see commands.h.
void add_eval_loss_command(CLI::App& eval);
void add_eval_nll_command(CLI::App& eval);
void add_eval_frechet_command(CLI::App& eval);

}  // namespace ddpm::app
