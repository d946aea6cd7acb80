#include "sample_output.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "ddpm/checkpoint/atomic_folder.h"
#include "ddpm/core/check.h"
#include "ddpm/core/file.h"
#include "ddpm/core/padded_number.h"
#include "ddpm/data/grid.h"
#include "ddpm/data/image_tensor.h"
#include "ddpm/data/npz.h"

namespace ddpm::app {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kStripImages = 4;

Image grid_of(const SampleOutput& output, const Tensor& images) {
  const int64_t columns = output.columns > 0 ? output.columns : square_columns(images.size(0));
  const int64_t scale = output.scale > 0 ? output.scale : shown_scale(images.size(3));
  return make_grid(images, columns, /*padding=*/2, scale);
}

/// The first images' way from noise: three rows an image, a column a moment.
Image strip_of(const SampleOutput& output) {
  std::vector<Image> strips;
  const int64_t count = std::min(output.images.size(0), kStripImages);
  for (int64_t image = 0; image < count; ++image) {
    StripLabels labels{
        .rows = {"x_t", "predicted noise", "predicted x_0"}, .columns = {}, .title = {}};
    std::vector<Tensor> x_t, eps, pred_x_start;
    for (const SampleTrace& moment : output.strip) {
      labels.columns.push_back("t=" + c10::str(std::lround(moment.t)));
      x_t.push_back(moment.x_t[image]);
      eps.push_back(moment.eps()[image]);
      pred_x_start.push_back(moment.pred_x_start[image]);
    }
    // A third of N(0, 1) lies outside [-1, 1]: x_t is shown over [-2, 2], noise over [-3, 3].
    strips.push_back(make_strip({at::stack(x_t) / 2, at::stack(eps) / 3, at::stack(pred_x_start)},
                                labels, output.scale));
  }
  return stack_rows(strips);
}

std::vector<uint8_t> animation_of(const SampleOutput& output) {
  std::vector<Image> frames;
  for (const SampleTrace& moment : output.frames) frames.push_back(grid_of(output, moment.x_t));
  frames.push_back(grid_of(output, output.images));
  return encode_webp_animation(frames, {.frame_ms = 80, .last_frame_ms = 2000});
}

void write_array(const std::string& path, const SampleOutput& output) {
  check_arg(!output.images.isnan().any().item<bool>(), "[", path,
            "] images: expected numbers, got NaN from the network");
  const Tensor pixels = ((output.images.clamp(-1, 1) + 1) * 127.5).round().to(at::kByte);
  std::vector<std::pair<std::string, Tensor>> arrays{
      {"arr_0", pixels.permute({0, 2, 3, 1}).contiguous()}};
  if (output.class_labels.defined()) arrays.emplace_back("arr_1", output.class_labels);
  write_npz(path, arrays);
}

void write_folder(const std::string& path, const SampleOutput& output) {
  AtomicFolder folder(path);
  for (int64_t i = 0; i < output.images.size(0); ++i) {
    const uint64_t number = output.first_image + static_cast<uint64_t>(i);
    TextChunks text = output.text;
    text.emplace_back("ddpm.image", std::to_string(number));
    write_png((folder.path() / (padded_number(number, 6) + ".png")).string(),
              image_from_tensor(output.images[i]), text);
  }
  folder.commit();
  remove_stale_folders(folder.folder().parent_path(), folder.folder().filename().string());
}

}  // namespace

OutputKind output_kind(const std::string& path) {
  const fs::path file(path);
  const std::string extension = file.extension().string();
  if (extension == ".png") {
    return file.stem().string().find("strip") == std::string::npos ? OutputKind::kGrid
                                                                   : OutputKind::kStrip;
  }
  if (extension == ".webp") return OutputKind::kAnimation;
  if (extension == ".npz") return OutputKind::kArray;
  check_arg(extension.empty() || path.back() == '/', "[--output] ", path,
            ": expected a .png, .webp or .npz file or a folder, got extension '", extension, "'");
  return OutputKind::kFolder;
}

void check_output(const std::string& path) {
  const OutputKind kind = output_kind(path);
  fs::path named = fs::absolute(path).lexically_normal();
  if (!named.has_filename()) named = named.parent_path();
  check_state(fs::is_directory(named.parent_path()), "[--output] ", path,
              ": expected a folder to write into, but there is no ", named.parent_path().string());
  if (kind != OutputKind::kFolder) {
    check_arg(!fs::is_directory(named), "[--output] ", path, ": expected a file, got a folder");
    return;
  }
  check_arg(!fs::exists(named) || (fs::is_directory(named) && fs::is_empty(named)), "[--output] ",
            path, ": expected a new or empty folder, got ",
            fs::is_directory(named) ? "one that holds files" : "a file");
}

TraceRecorder::TraceRecorder(int64_t num_steps, int64_t moments) {
  const int64_t count = std::min(num_steps, moments);
  for (int64_t i = 0; i < count; ++i) {
    steps_.push_back(count == 1 ? num_steps - 1 : i * (num_steps - 1) / (count - 1));
  }
}

void TraceRecorder::record(const SampleTrace& trace) {
  const auto found = std::find(steps_.begin(), steps_.end(), trace.step);
  if (found == steps_.end()) return;
  const auto index = static_cast<size_t>(found - steps_.begin());
  if (index == moments_.size()) {  // the first batch
    moments_.push_back(trace);
    return;
  }
  SampleTrace& moment = moments_[index];
  moment.x_t = at::cat({moment.x_t, trace.x_t});
  moment.pred_x_start = at::cat({moment.pred_x_start, trace.pred_x_start});
}

void write_sample_output(const std::string& path, const SampleOutput& output) {
  switch (output_kind(path)) {
    case OutputKind::kGrid:
      return write_png(path, grid_of(output, output.images), output.text);
    case OutputKind::kStrip:
      return write_png(path, strip_of(output), output.text);
    case OutputKind::kAnimation:
      return write_file_atomic(path, animation_of(output));
    case OutputKind::kArray:
      return write_array(path, output);
    case OutputKind::kFolder:
      return write_folder(path, output);
  }
  throw std::logic_error("[write_sample_output] not an OutputKind");
}

}  // namespace ddpm::app
