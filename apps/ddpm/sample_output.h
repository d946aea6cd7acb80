#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ddpm/core/tensor.h"
#include "ddpm/data/image_codec.h"
#include "ddpm/sampling/sampler.h"

namespace ddpm::app {

/// What a file of samples shows, told by its name: a PNG is a grid, or a strip if its name holds
/// "strip"; .webp is the animation of the grid; .npz the array; no extension a folder of PNGs.
enum class OutputKind { kGrid, kStrip, kAnimation, kArray, kFolder };

/// @throws std::invalid_argument for another extension.
OutputKind output_kind(const std::string& path);

/// Checks that an output can be written, before the work for it is done.
///
/// @throws std::invalid_argument for another extension, or a folder that holds files already.
/// @throws std::runtime_error if there is no folder to write into.
void check_output(const std::string& path);

/// The states of a sampler that pictures need, gathered over batches.
class TraceRecorder {
 public:
  /// @param num_steps steps of the sampler; @param moments how many of them to keep.
  TraceRecorder(int64_t num_steps, int64_t moments);
  void record(const SampleTrace& trace);

  /// One for each kept step, in order; images along the first dimension.
  const std::vector<SampleTrace>& moments() const { return moments_; }

 private:
  std::vector<int64_t> steps_;
  std::vector<SampleTrace> moments_;
};

/// All that the outputs are made of.
struct SampleOutput {
  Tensor images;                    ///< [N, C, H, W] in [-1, 1].
  Tensor class_labels;              ///< [N] int64 or undefined.
  std::vector<SampleTrace> strip;   ///< Moments of the strip.
  std::vector<SampleTrace> frames;  ///< Moments of the animation.
  TextChunks text;                  ///< For every PNG.
  uint64_t first_image = 0;
  int64_t columns = 0;  ///< 0: about square.
  int64_t scale = 0;    ///< 0: small images are enlarged to be seen.
};

/// Writes one output. It appears whole or not at all, a folder too.
void write_sample_output(const std::string& path, const SampleOutput& output);

}  // namespace ddpm::app
