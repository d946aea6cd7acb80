#include "ddpm/serving/api/edit_answer.h"

#include <ATen/ATen.h>
#include <c10/util/StringUtil.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <string>
#include <utility>

#include "ddpm/checkpoint/model_folder.h"
#include "ddpm/data/grid.h"
#include "ddpm/data/image_tensor.h"
#include "ddpm/data/npz.h"
#include "ddpm/data/picture_text.h"
#include "ddpm/serving/api/image_encoding.h"

namespace ddpm {
namespace {

using nlohmann::json;

constexpr int64_t kFrameMs = 80;

bool has_seed(const EditTask& task) { return task.fields.kind != EditKind::kInterpolate; }

TextChunks edit_text(const EditTask& task) {
  const EngineRequest& request = task.request.engine;
  const EditFields& fields = task.fields;
  TextChunks text = origin_text({.model_hash = short_model_hash(task.model->hash),
                                 .sampler = request.sampler,
                                 .steps = request.sampler.steps,
                                 .class_name = task.class_name,
                                 .guidance = request.guidance});
  if (has_seed(task)) {
    for (auto& chunk : seed_text(request.seed, request.first_image)) text.push_back(chunk);
  }
  text.emplace_back("ddpm.edit", enum_word(fields.kind));
  if (restores(task)) {
    text.emplace_back("ddpm.jump_length", std::to_string(fields.restore.jump_length));
    text.emplace_back("ddpm.resamples", std::to_string(fields.restore.resamples));
    if (fields.restore.sigma_y > 0) {
      text.emplace_back("ddpm.sigma_y", c10::str(fields.restore.sigma_y));
    }
  }
  if (fields.kind == EditKind::kSuperres) {
    text.emplace_back("ddpm.factor", std::to_string(fields.factor));
  }
  if (fields.kind == EditKind::kImg2img) {
    text.emplace_back("ddpm.strength", c10::str(fields.strength));
  }
  if (!fields.seeds.empty()) {
    text.emplace_back("ddpm.seeds", c10::str(fields.seeds[0], ",", fields.seeds[1]));
  }
  return text;
}

std::string bytes_as_text(const std::vector<uint8_t>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string there_and_back(const std::vector<Image>& images) {
  std::vector<Image> frames;
  for (const Image& image : images) {
    frames.push_back(enlarge_pixels(image, shown_scale(image.width)));
  }
  for (size_t i = frames.size() - 1; i-- > 1;) frames.push_back(frames[i]);
  return bytes_as_text(
      encode_webp_animation(frames, {.frame_ms = kFrameMs, .last_frame_ms = kFrameMs}));
}

std::string npz_of_images(const EditTask& task, const Tensor& images) {
  std::vector<Tensor> pixels;
  for (const Image& image : images_from_tensor(images)) {
    pixels.push_back(at::tensor(at::ArrayRef<uint8_t>(image.pixels), at::kByte)
                         .view({image.height, image.width, image.channels}));
  }
  NamedArrays arrays{{"arr_0", at::stack(pixels)}};
  const auto& labels = task.request.engine.class_labels;
  if (!labels.empty()) arrays.emplace_back("arr_1", at::tensor(labels, at::kLong));
  return bytes_as_text(encode_npz(arrays));
}

HttpResponse pictures_answer(const EditTask& task, const std::vector<Image>& images) {
  const bool is_png = task.request.format == "png";
  const std::string media_type = is_png ? "image/png" : "image/webp";
  const TextChunks text = edit_text(task);
  std::vector<std::string> encoded;
  for (const Image& image : images) {
    encoded.push_back(
        bytes_as_text(is_png ? encode_png(image, text) : encode_webp_animation({image})));
  }
  if (encoded.size() == 1) return {.body = std::move(encoded[0]), .media_type = media_type};
  json list = json::array();
  for (size_t i = 0; i < encoded.size(); ++i) {
    list.push_back({{"index", i},
                    {"media_type", media_type},
                    {"b64", to_base64(encoded[i])},
                    {"width", images[i].width},
                    {"height", images[i].height}});
  }
  json answer{{"images", std::move(list)}};
  if (has_seed(task)) answer["seed"] = task.request.engine.seed;
  return json_response(200, answer.dump());
}

HttpResponse answer_in_format(const EditTask& task, const Tensor& images) {
  if (task.request.format == "npz") {
    return {.body = npz_of_images(task, images), .media_type = "application/x-npz"};
  }
  const std::vector<Image> pictures = images_from_tensor(images);
  if (task.request.format == "webp" && task.fields.kind == EditKind::kInterpolate) {
    return {.body = there_and_back(pictures), .media_type = "image/webp"};
  }
  return pictures_answer(task, pictures);
}

}  // namespace

HttpResponse edit_answer(const EditTask& task, const Tensor& images) {
  if (!images.isfinite().all().item<bool>()) {
    throw HttpError(500, "non_finite",
                    "The network's answers were not finite: no image can be shown.");
  }
  HttpResponse response = answer_in_format(task, images);
  response.headers.emplace_back("Cache-Control", "no-store");
  if (has_seed(task)) {
    response.headers.emplace_back("X-Seed", std::to_string(task.request.engine.seed));
  }
  return response;
}

}  // namespace ddpm
