#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ddpm/config/data_config.h"
#include "ddpm/config/edit_config.h"
#include "edit_output.h"
#include "model_flags.h"

namespace ddpm::app {

/// What every `ddpm edit` command takes.
struct EditFlags {
  ModelFlags model;
  std::string source;
  std::vector<std::string> outputs;
  ImageRequest request;
  bool takes_seed = true;  ///< False: nothing is drawn from --seed, so there is no such flag.
  RestoreOptions restore;
  FitPolicy fit = FitPolicy::kCrop;
  int64_t scale = 0;
};

/// Adds the model's flags, the source image, outputs, seed, number, fit and scale.
void add_edit_flags(CLI::App& command, EditFlags& flags, const std::string& default_output);

/// Adds the flags of RestoreOptions.
void add_restore_flags(CLI::App& command, RestoreOptions& options);

/// An image file as the model takes it: made square by the policy, resized to size x size (area
/// where it shrinks, bicubic where it grows), grey or RGB as `channels` says.
///
/// @return [1, channels, size, size] float32 in [-1, 1] on the CPU.
/// @throws std::invalid_argument if there is no such file.
Tensor load_source(const std::string& path, int64_t channels, int64_t size, FitPolicy fit);

/// A model that is ready to edit with.
struct EditModel {
  LoadedModel loaded;
  SamplerOptions sampler;
  int64_t channels;
  int64_t size;

  Tensor to_device(const Tensor& image) const { return image.to(loaded.pipeline.device); }
};

/// Checks the outputs and opens the model.
///
/// @param animates whether a .webp can be written.
EditModel open_edit_model(const EditFlags& flags, bool animates);

/// The sampler of restoring, unless others were given: 100 steps of ddpm, whose steps stand alone.
SamplerOptions restore_sampler(const EditFlags& flags, const EditModel& model);

/// Draws the request's images with a progress bar over network calls.
///
/// @param calls of the network, for each batch.
Tensor draw_edited(const EditFlags& flags, const EditModel& model, int64_t calls,
                   const DrawFn& draw);

/// Writes all outputs and says so.
///
/// @param kind of edit, for the text chunks, beside those of `more`.
void write_edited(const EditFlags& flags, const EditModel& model, const std::string& kind,
                  const TextChunks& more, EditOutput output);

// Each adds one subcommand of `ddpm edit`.
void add_inpaint_command(CLI::App& edit);
void add_img2img_command(CLI::App& edit);
void add_superres_command(CLI::App& edit);
void add_colorize_command(CLI::App& edit);
void add_interpolate_command(CLI::App& edit);

}  // namespace ddpm::app
