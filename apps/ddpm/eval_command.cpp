#include <CLI/CLI.hpp>

#include "commands.h"
#include "eval_commands.h"

namespace ddpm::app {

void add_eval_command(CLI::App& app) {
  auto* eval = app.add_subcommand(
      "eval",
      "Measure models: their loss on images they were not trained on, and how far samples are from "
      "real images.\n\nExamples:\n"
      "  ddpm eval loss runs/fashion_mnist                          on the data's test images\n"
      "  ddpm eval loss runs/a --against runs/b                     which of two is better\n"
      "  ddpm eval nll runs/fashion_mnist -n 1000                   bits per dimension\n"
      "  ddpm eval frechet samples.npz photos --classifier runs/c   not FID: our own features");
  eval->require_subcommand(1);
  add_eval_loss_command(*eval);
  add_eval_nll_command(*eval);
  add_eval_frechet_command(*eval);
}

}  // namespace ddpm::app
