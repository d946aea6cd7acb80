#include "ddpm/serving/api/image_encoding.h"

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <stdexcept>

#include "ddpm/checkpoint/model_folder.h"
#include "ddpm/data/image_tensor.h"
#include "ddpm/data/npz.h"
#include "ddpm/data/picture_text.h"

namespace ddpm {
namespace {

std::string as_text(const std::vector<uint8_t>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TextChunks text_of_image(const JobRequest& request, int64_t image) {
  const EngineRequest& engine = request.engine;
  const auto resolved = nlohmann::json::parse(request.text);
  PictureOrigin origin{.model_hash = short_model_hash(resolved.at("model_hash").get<std::string>()),
                       .sampler = engine.sampler,
                       .steps = engine.sampler.steps,
                       .guidance = engine.guidance};
  const auto& body = resolved.at("request");
  const auto classes = body.find("class");
  if (classes != body.end()) {
    origin.class_name = classes->at(static_cast<std::size_t>(image)).get<std::string>();
  }
  TextChunks text = origin_text(origin);
  for (auto& chunk : seed_text(engine.seed, engine.first_image)) text.push_back(std::move(chunk));
  const uint64_t number = engine.first_image + static_cast<uint64_t>(image);
  text.emplace_back("ddpm.image", std::to_string(number));
  return text;
}

std::string npz_of_image(const JobRequest& request, int64_t image, const Tensor& x) {
  const Image picture = image_from_tensor(x);
  const Tensor pixels = at::tensor(at::ArrayRef<uint8_t>(picture.pixels), at::kByte)
                            .view({1, picture.height, picture.width, picture.channels});
  NamedArrays arrays{{"arr_0", pixels}};
  const auto& labels = request.engine.class_labels;
  if (!labels.empty()) {
    const int64_t label = labels.at(labels.size() == 1 ? 0 : static_cast<std::size_t>(image));
    arrays.emplace_back("arr_1", at::full({1}, label, at::kLong));
  }
  return as_text(encode_npz(arrays));
}

}  // namespace

JobImage encode_job_image(const JobRequest& request, int64_t image, const Tensor& x) {
  if (request.format == "png") {
    return {as_text(encode_png(image_from_tensor(x), text_of_image(request, image))), "image/png"};
  }
  if (request.format == "webp") {
    return {as_text(encode_webp_animation({image_from_tensor(x)})), "image/webp"};
  }
  if (request.format == "npz") return {npz_of_image(request, image, x), "application/x-npz"};
  throw std::logic_error("[encode_job_image] not a format: " + request.format);
}

JobFrame encode_job_frame(const ImageTrace& trace) {
  const auto png = [](const Tensor& x) { return as_text(encode_png(image_from_tensor(x))); };
  // A third of N(0, 1) lies outside [-1, 1]: x_t is shown over [-2, 2], noise over [-3, 3].
  return {.step = trace.step,
          .t = trace.t,
          .x_t = png(trace.x_t / 2),
          .eps = png(trace.eps / 3),
          .pred_x_start = png(trace.pred_x_start)};
}

std::string png_data_url(const Tensor& x) {
  return "data:image/png;base64," + to_base64(as_text(encode_png(image_from_tensor(x))));
}

std::string to_base64(std::string_view bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](std::size_t k) {
      return i + k < bytes.size() ? static_cast<uint32_t>(static_cast<uint8_t>(bytes[i + k])) : 0U;
    };
    const uint32_t group = byte(0) << 16 | byte(1) << 8 | byte(2);
    for (std::size_t k = 0; k < 4; ++k) {
      const bool is_padding = i + k > bytes.size();
      text += is_padding ? '=' : kDigits[group >> (18 - 6 * k) & 63];
    }
  }
  return text;
}

std::string extension_of(std::string_view media_type) {
  if (media_type == "image/png") return "png";
  if (media_type == "image/webp") return "webp";
  return media_type == "application/x-npz" ? "npz" : "";
}

}  // namespace ddpm
