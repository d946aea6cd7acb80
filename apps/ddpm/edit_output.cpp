#include "edit_output.h"

#include <algorithm>

#include "ddpm/core/check.h"
#include "ddpm/core/file.h"
#include "ddpm/data/grid.h"
#include "ddpm/data/image_tensor.h"
#include "sample_output.h"

namespace ddpm::app {
namespace {

Image picture_of(const EditOutput& output) {
  if (output.images.size(0) == 1) {
    return enlarge_pixels(image_from_tensor(output.images[0]), std::max<int64_t>(1, output.scale));
  }
  return make_grid(output.images, square_columns(output.images.size(0)), /*padding=*/2,
                   std::max<int64_t>(1, output.scale));
}

Image strip_of_edit(const EditOutput& output) {
  StripLabels labels{.rows = {""}, .columns = {}, .title = {}};
  std::vector<Image> row;
  for (const auto& [name, image] : output.given) {
    labels.columns.push_back(name);
    row.push_back(convert_channels(image_from_tensor(image), output.images.size(1)));
  }
  for (int64_t i = 0; i < output.images.size(0); ++i) {
    const auto index = static_cast<size_t>(i);
    labels.columns.push_back(output.names.empty() ? std::to_string(i) : output.names.at(index));
    row.push_back(image_from_tensor(output.images[i]));
  }
  return label_strip({row}, labels, output.scale);
}

std::vector<uint8_t> animation_there_and_back(const EditOutput& output) {
  const int64_t scale = output.scale > 0 ? output.scale : shown_scale(output.images.size(3));
  std::vector<Image> frames;
  for (const Image& image : images_from_tensor(output.images)) {
    frames.push_back(enlarge_pixels(image, scale));
  }
  for (size_t i = frames.size() - 1; i-- > 1;) frames.push_back(frames[i]);
  return encode_webp_animation(frames, {.frame_ms = 80, .last_frame_ms = 80});
}

}  // namespace

void check_edit_output(const std::string& path, bool animates) {
  check_output(path);
  check_arg(animates || output_kind(path) != OutputKind::kAnimation, "[--output] ", path,
            ": expected a .png, a .npz or a folder, only an interpolation moves");
}

void write_edit_output(const std::string& path, const EditOutput& output) {
  switch (output_kind(path)) {
    case OutputKind::kGrid:
      return write_png(path, picture_of(output), output.text);
    case OutputKind::kStrip:
      return write_png(path, strip_of_edit(output), output.text);
    case OutputKind::kAnimation:
      return write_file_atomic(path, animation_there_and_back(output));
    case OutputKind::kArray:
    case OutputKind::kFolder: {
      SampleOutput samples;
      samples.images = output.images;
      samples.text = output.text;
      return write_sample_output(path, samples);
    }
  }
  throw std::logic_error("[write_edit_output] not an OutputKind");
}

}  // namespace ddpm::app
