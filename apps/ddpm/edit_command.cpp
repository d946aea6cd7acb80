#include <CLI/CLI.hpp>

#include "commands.h"
#include "edit_flags.h"

namespace ddpm::app {

void add_edit_command(CLI::App& app) {
  auto* edit = app.add_subcommand(
      "edit",
      "Change images with a trained model, whatever it was trained for.\n\nExamples:\n"
      "  ddpm edit inpaint MODEL photo.png mask.png        paint the mask's white part anew\n"
      "  ddpm edit img2img MODEL sketch.png --strength 0.5 keep the layout, redraw the rest\n"
      "  ddpm edit superres MODEL small.png --factor 4     four times as wide and high\n"
      "  ddpm edit colorize MODEL grey.png                 colours for a grey image\n"
      "  ddpm edit interpolate MODEL a.png b.png           the way from one image to another\n"
      "  ddpm edit interpolate MODEL --seeds 3,9           the way from one sample to another");
  edit->require_subcommand(1);
  add_inpaint_command(*edit);
  add_img2img_command(*edit);
  add_superres_command(*edit);
  add_colorize_command(*edit);
  add_interpolate_command(*edit);
}

}  // namespace ddpm::app
