#include <c10/util/Exception.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>

#include "commands.h"

namespace {

int fail(int exit_code, const std::string& message) {
  std::fprintf(stderr, "ddpm: %s\n", message.c_str());
  return exit_code;
}

/// The first line of LibTorch's message: the rest is a C++ backtrace.
std::string first_line(const std::string& message) { return message.substr(0, message.find('\n')); }

/// Ends the process without the destructors of static objects: LibTorch's take its thousands of
/// operators out of their tables one by one, a third of the time that it takes to load. All files
/// are closed by now but the standard streams.
[[noreturn]] void leave(int exit_code) {
  std::cout.flush();
  std::fflush(nullptr);
  std::_Exit(exit_code);
}

int run_program(int argc, char** argv) {
  CLI::App app{
      "Denoising diffusion: train, sample and look into DDPMs.\n\n"
      "  ddpm train recipes/fashion_mnist.toml      learn from images\n"
      "  ddpm sample runs/fashion_mnist -n 64       draw new ones\n"
      "  ddpm eval loss runs/fashion_mnist          how good it is on images it has not seen\n"
      "  ddpm forward image.png                     watch an image become noise\n"
      "  ddpm serve runs                            a page and an API that draw images\n"
      "  ddpm info runs/fashion_mnist               what a model, checkpoint or recipe holds\n"
      "  ddpm convert talk.pth talk_model           other files of weights, into model folders\n"};
  app.name("ddpm");
  app.set_version_flag("--version", std::string("ddpm ") + ddpm::app::kVersion);
  app.require_subcommand(1);
  int exit_code = 0;
  ddpm::app::add_train_command(app, exit_code);
  ddpm::app::add_sample_command(app);
  ddpm::app::add_edit_command(app);
  ddpm::app::add_eval_command(app);
  ddpm::app::add_forward_command(app);
  ddpm::app::add_serve_command(app, exit_code);
  ddpm::app::add_info_command(app);
  ddpm::app::add_convert_command(app);
  ddpm::app::add_bench_serve_command(app);
  ddpm::app::add_completion_command(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    return fail(ddpm::app::kCallerMistake, std::string(error.what()) + " (see --help)");
  } catch (const std::invalid_argument& error) {
    return fail(ddpm::app::kCallerMistake, error.what());
  } catch (const c10::Error& error) {
    return fail(ddpm::app::kMachineFault, first_line(error.what_without_backtrace()));
  } catch (const std::exception& error) {
    return fail(ddpm::app::kMachineFault, first_line(error.what()));
  }
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) { leave(run_program(argc, argv)); }
