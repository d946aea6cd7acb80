#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "ddpm/config/field.h"
#include "ddpm/config/field_list.h"

namespace ddpm {

/// As what images are given to clients.
enum class ImageFormat { kPng, kWebp, kNpz };

template <>
struct EnumNames<ImageFormat> {
  static constexpr std::array names{"png", "webp", "npz"};
};

/// What one request may ask for.
struct GenerationLimits {
  int64_t max_images = 64;
  int64_t max_steps = 1000;  ///< Noise levels of an image.
  int64_t max_trace_frames = 20;
  int64_t max_deadline_ms = int64_t{24} * 3600 * 1000;
  int64_t max_result_bytes = int64_t{256} << 20;  ///< JobsOptions::max_result_bytes
};

/// The plain fields of a request for images; sampler, guidance, class, seed and first_image stand
/// beside them (generation_options.h).
struct GenerationFields {
  std::string model;
  int64_t num_images = 1;
  ImageFormat format = ImageFormat::kPng;
  bool previews = false;
  int64_t trace = 0;
  int64_t deadline_ms = 0;
  int64_t priority = 0;

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("model", model, "id of a model; may be left out where only one is served");
    visit("num_images", num_images, "how many images", at_least(1));
    visit("format", format, "png and webp: pictures; npz: uint8 arrays for NumPy");
    visit("previews", previews, "events with the predicted x_0 on the way");
    visit("trace", trace, "moments of the first image's way that are kept as pictures; 0: none",
          at_least(0));
    visit("deadline_ms", deadline_ms, "give up after this many milliseconds; 0: never",
          at_least(0));
    visit("priority", priority, "-1, 0 or 1: a quarter, one or four shares of the engine",
          between(-1, 1));
  }
};

/// The fields with the limits as their ranges. They refer to `fields`, which must outlive them.
std::vector<Field> list_generation_fields(GenerationFields& fields, const GenerationLimits& limits);

/// Bytes that the request's images and trace may take together: a picture counts as its uint8
/// pixels and 1 KiB, as noise does not compress.
///
/// @param image_shape [C, H, W]
int64_t most_result_bytes(const GenerationFields& fields, const std::vector<int64_t>& image_shape);

/// What can't be kept until it is fetched is not to be drawn.
///
/// @throws std::invalid_argument if most_result_bytes() are more than the limits say.
void check_result_bytes(const GenerationFields& fields, const std::vector<int64_t>& image_shape,
                        const GenerationLimits& limits);

/// A field as clients read it: {"name","type","default","min","max","values","help"}; type integer,
/// number, boolean, text, enum or list; min and max null where there is no end, values of enums.
nlohmann::json field_schema(const Field& field);

}  // namespace ddpm
