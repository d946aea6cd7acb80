#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "commands.h"
#include "ddpm/config/run_config.h"
#include "ddpm/config/toml_config.h"
#include "ddpm/core/check.h"
#include "ddpm/data/bitmap_text.h"
#include "ddpm/data/fit.h"
#include "ddpm/data/grid.h"
#include "ddpm/data/image_codec.h"
#include "ddpm/data/image_set.h"
#include "ddpm/data/image_tensor.h"
#include "ddpm/diffusion/forward_frames.h"
#include "ddpm/diffusion/noise_schedule.h"
#include "number_check.h"

namespace ddpm::app {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kTileWidth = 128;

struct ForwardFlags {
  std::string source;
  std::string output = "forward_strip.png";
  std::vector<std::string> overrides;
  int64_t levels = 10;
  int64_t image = 0;
  int64_t size = 0;
  uint64_t seed = 0;
};

/// x_0 [1, C, H, W] in [-1, 1]: an image file, or an image of a recipe's data.
Tensor load_x_start(const ForwardFlags& flags, const RunConfig& recipe, bool is_recipe) {
  if (!is_recipe) {
    check_arg(fs::exists(flags.source) && !fs::is_directory(flags.source), "[forward] ",
              flags.source, ": expected an image or a recipe, got ",
              fs::exists(flags.source) ? "a folder" : "nothing there");
    Image image = read_image(flags.source, recipe.data.max_pixels);
    if (flags.size > 0) image = fit_square(image, flags.size, recipe.data.fit, recipe.data.filter);
    return image_to_tensor(image).unsqueeze(0);
  }
  const ImageSet set = load_image_set(recipe.data);
  check_arg(flags.image >= 0 && flags.image < set.images.size(0), "[--image] expected 0 to ",
            set.images.size(0) - 1, ", got ", flags.image);
  return set.images.narrow(/*dim=*/0, flags.image, 1).to(at::kFloat) / 127.5 - 1;
}

/// How the pixels' values are spread over [-3, 3], as bars on white of the given size.
Image histogram_tile(const Tensor& x, int64_t width, int64_t height, const std::string& caption) {
  const Tensor counts = pixel_histogram(x);
  // The root keeps the tails in sight where the data's own peaks are high.
  const Tensor heights = (counts / counts.max()).sqrt().contiguous();
  Image tile{.width = width,
             .height = height,
             .channels = 3,
             .pixels = std::vector<uint8_t>(static_cast<size_t>(width * height * 3), 255)};
  const int64_t text_rows = 2 * kGlyphHeight;
  const auto* bars = heights.const_data_ptr<float>();
  for (int64_t column = 0; column < width; ++column) {
    const float bar = bars[column * kHistogramBins / width];
    const auto rows = static_cast<int64_t>(bar * static_cast<float>(height - text_rows));
    for (int64_t row = height - rows; row < height; ++row) {
      uint8_t* pixel = &tile.pixels[static_cast<size_t>((row * width + column) * 3)];
      pixel[0] = 70;
      pixel[1] = 110;
      pixel[2] = 180;
    }
  }
  draw_text(tile, 2, 2, caption, /*scale=*/1);
  return tile;
}

std::string snr_text(const ForwardFrame& frame) {
  if (frame.t < 0) return "SNR inf";
  char text[32];
  std::snprintf(text, sizeof text, "SNR %.3g", frame.snr);
  return text;
}

bool is_recipe_file(const std::string& source) { return fs::path(source).extension() == ".toml"; }

void check_flags_fit(const CLI::App& command, const std::string& source) {
  const char* const other = is_recipe_file(source) ? "--size" : "--image";
  check_arg(command.count(other) == 0, "[", other, "] expected with ",
            is_recipe_file(source) ? "an image file" : "a recipe", " only, got ", source);
}

void run_forward(const ForwardFlags& flags) {
  const bool is_recipe = is_recipe_file(flags.source);
  check_arg(fs::path(flags.output).extension() == ".png", "[--output] expected a .png file, got ",
            flags.output);
  const RunConfig recipe = is_recipe ? load_recipe(flags.source, flags.overrides)
                                     : parse_recipe("", "forward", flags.overrides);
  const NoiseSchedule schedule = make_noise_schedule(recipe.diffusion);
  const Tensor x_start = load_x_start(flags, recipe, is_recipe);
  const int64_t factor = std::max<int64_t>(1, kTileWidth / x_start.size(3));
  const int64_t num_timesteps = schedule.num_timesteps();
  check_arg(flags.levels >= 2 && flags.levels <= num_timesteps + 1, "[--levels] expected 2 to ",
            num_timesteps + 1, ", got ", flags.levels);

  std::vector<Image> pictures, histograms;
  StripLabels labels{.rows = {"x_t", "histogram"}, .columns = {}, .title = {}};
  for (const ForwardFrame& frame :
       forward_frames(schedule, x_start, even_timesteps(flags.levels, num_timesteps), flags.seed)) {
    labels.columns.push_back(frame.t < 0 ? "x_0" : "t=" + std::to_string(frame.t));
    // Noise leaves [-1, 1]: noisy pictures show [-1.5, 1.5].
    const Tensor shown = frame.t < 0 ? frame.x_t[0] : frame.x_t[0] / 1.5;
    pictures.push_back(enlarge_pixels(convert_channels(image_from_tensor(shown), 3), factor));
    histograms.push_back(
        histogram_tile(frame.x_t, pictures.back().width, pictures.back().height, snr_text(frame)));
  }
  write_png(flags.output, label_strip({pictures, histograms}, labels, /*scale=*/1));
  std::printf("wrote %s\n", flags.output.c_str());
}

}  // namespace

void add_forward_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "forward",
      "Show the forward process: an image becoming noise, with its signal-to-noise ratio and the "
      "histogram of its pixels at each level.\n\nExamples:\n"
      "  ddpm forward cat.png --size 64\n"
      "  ddpm forward recipes/fashion_mnist.toml --image 7 -o garment_strip.png\n"
      "  ddpm forward cat.png --set diffusion.schedule=cosine --set diffusion.num_timesteps=300");
  auto flags = std::make_shared<ForwardFlags>();
  command->add_option("source", flags->source, "PNG or JPEG file, or a recipe (.toml)")->required();
  command->add_option("-o,--output", flags->output, "PNG file")->capture_default_str();
  command->add_option("--set", flags->overrides,
                      "a recipe's field, as in diffusion.schedule=cosine");
  command->add_option("--levels", flags->levels, "pictures, x_0 included")->capture_default_str();
  command->add_option("--image", flags->image, "which image of a recipe's data")
      ->capture_default_str();
  command->add_option("--size", flags->size, "square side an image file is fitted to; 0: as it is")
      ->check(at_least_zero());
  command->add_option("--seed", flags->seed, "of the noise")
      ->check(at_least_zero())
      ->capture_default_str();
  command->callback([command, flags] {
    check_flags_fit(*command, flags->source);
    run_forward(*flags);
  });
}

}  // namespace ddpm::app
