#include "ddpm/serving/api/image_encoding.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <limits>
#include <map>

#include "ddpm/data/image_codec.h"
#include "ddpm/data/npz_reader.h"
#include "ddpm/serving/api/generation_options.h"
#include "serving/served_fake.h"

namespace ddpm {
namespace {

using nlohmann::json;
using testing::served_fake;

JobRequest request_of(const std::string& text) {
  const ServedModels models({served_fake({.id = "garments", .num_classes = 3})});
  return parse_generation(json::parse(text), models, {});
}

/// Pixels 0 .. 191: x = pixel / 127.5 - 1.
Tensor ramp() { return at::arange(192, at::kFloat).view({3, 8, 8}) / 127.5 - 1; }

std::vector<uint8_t> bytes_of(const JobImage& image) {
  return {image.bytes.begin(), image.bytes.end()};
}

TEST(ImageEncodingTest, PngHasThePixelsAndTheTextOfTheProgramsPictures) {
  const JobRequest request = request_of(
      R"({"seed": 7, "first_image": 4, "num_images": 2, "sampler": {"kind": "ddim", "eta": 0.5},
          "guidance": {"scale": 2}})");
  const JobImage encoded = encode_job_image(request, 1, ramp());
  EXPECT_EQ(encoded.media_type, "image/png");
  const Image image = decode_image(bytes_of(encoded), "png", 100);
  for (int64_t i = 0; i < 64; ++i) {
    EXPECT_EQ(image.pixels.at(static_cast<size_t>(3 * i + 1)), 64 + i);
  }
  const std::string path = ::testing::TempDir() + "/encoded.png";
  std::ofstream(path, std::ios::binary) << encoded.bytes;
  std::map<std::string, std::string> text;
  for (const auto& [key, value] : read_png_text(path)) text[key] = value;
  const std::map<std::string, std::string> expected{
      {"Software", "ddpm.cpp"}, {"ddpm.model", "aaaaaaaaaaaa"}, {"ddpm.steps", "50"},
      {"ddpm.sampler", "ddim"}, {"ddpm.spacing", "trailing"},   {"ddpm.clip", "clip"},
      {"ddpm.eta", "0.5"},      {"ddpm.class", "coat"},         {"ddpm.guidance", "2"},
      {"ddpm.seed", "7"},       {"ddpm.first_image", "4"},      {"ddpm.image", "5"}};
  EXPECT_EQ(text, expected);
}

TEST(ImageEncodingTest, NpzHasPixelsAndLabel) {
  const JobRequest request = request_of(R"({"format": "npz", "class": "shirt"})");
  const JobImage encoded = encode_job_image(request, 0, ramp());
  const std::string path = ::testing::TempDir() + "/encoded.npz";
  std::ofstream(path, std::ios::binary) << encoded.bytes;
  const auto arrays = read_npz(path, {"arr_0", "arr_1"});
  ASSERT_EQ(arrays.size(), 2U);
  const Tensor pixels = arrays.at("arr_0");
  EXPECT_EQ(pixels.sizes(), (std::vector<int64_t>{1, 8, 8, 3}));
  EXPECT_EQ(pixels[0][0][1][2].item<int64_t>(), 129);
  EXPECT_EQ(arrays.at("arr_1").item<int64_t>(), 1);
}

TEST(ImageEncodingTest, WebpIsWebp) {
  const JobImage encoded = encode_job_image(request_of(R"({"format": "webp"})"), 0, ramp());
  EXPECT_EQ(encoded.media_type, "image/webp");
  EXPECT_EQ(encoded.bytes.substr(0, 4) + encoded.bytes.substr(8, 4), "RIFFWEBP");
}

TEST(ImageEncodingTest, NanIsRefused) {
  const Tensor x = at::full({3, 8, 8}, std::numeric_limits<float>::quiet_NaN());
  for (const char* format : {"png", "webp", "npz"}) {
    const JobRequest request = request_of(R"({"format": ")" + std::string(format) + "\"}");
    EXPECT_THROW(encode_job_image(request, 0, x), std::invalid_argument) << format;
  }
}

// The examples of RFC 4648 10.
TEST(ImageEncodingTest, Base64IsThatOfTheStandard) {
  const std::map<std::string, std::string> examples{{"", ""},
                                                    {"f", "Zg=="},
                                                    {"fo", "Zm8="},
                                                    {"foo", "Zm9v"},
                                                    {"foob", "Zm9vYg=="},
                                                    {"fooba", "Zm9vYmE="},
                                                    {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : examples) EXPECT_EQ(to_base64(bytes), text);
  EXPECT_EQ(to_base64("\xff\xfe\xfd"), "//79");
}

TEST(ImageEncodingTest, PreviewsAreDataUrls) {
  EXPECT_THAT(png_data_url(ramp()), ::testing::StartsWith("data:image/png;base64,iVBORw0KGgo"));
}

}  // namespace
}  // namespace ddpm
