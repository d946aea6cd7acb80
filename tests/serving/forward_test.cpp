#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <numeric>

#include "ddpm/data/image_codec.h"
#include "ddpm/serving/api/forward_routes.h"
#include "serving/test_service.h"

namespace ddpm {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using testing::TestForm;
using testing::TestServer;

std::string png_text(const Image& image) {
  const std::vector<uint8_t> bytes = encode_png(image);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Grey levels from dark to light, wider than high.
Image ramp_image(int64_t width = 40, int64_t height = 20, int64_t channels = 3) {
  Image image = Image::filled(width, height, channels);
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      for (int64_t c = 0; c < channels; ++c) {
        image.at(x, y)[c] = static_cast<uint8_t>(255 * x / std::max<int64_t>(1, width - 1));
      }
    }
  }
  return image;
}

class ForwardTest : public ::testing::Test {
 protected:
  RawResponse forward(const std::vector<std::pair<std::string, std::string>>& fields,
                      const std::string& image = png_text(ramp_image())) const {
    return server_.ask(TestForm{fields, {{"image", image}}}.post("/v1/forward"));
  }
  /// The field that a request is refused for, with the status.
  std::string refused(const std::vector<std::pair<std::string, std::string>>& fields) const {
    const RawResponse answer = forward(fields);
    const json error = json::parse(answer.body).at("error");
    return std::to_string(answer.status) + " " + error.at("field").get<std::string>();
  }

  static HttpRouter routes() {
    HttpRouter router;
    add_forward_routes(router);
    return router;
  }
  MetricsRegistry metrics_;
  TestServer server_{routes(), metrics_};
};

TEST_F(ForwardTest, AnImageBecomesNoiseLevelByLevel) {
  const RawResponse answer = forward({{"schedule", "cosine"},
                                      {"num_timesteps", "300"},
                                      {"t", "-1,10,299"},
                                      {"size", "16"},
                                      {"seed", "7"}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  const json body = json::parse(answer.body);
  EXPECT_EQ(body.at("seed"), 7);
  EXPECT_EQ(body.at("channels"), 3);
  const json& frames = body.at("frames");
  ASSERT_EQ(frames.size(), 3U);
  EXPECT_EQ(frames[0].at("alpha_bar"), 1.0);
  EXPECT_TRUE(frames[0].at("snr_db").is_null());
  EXPECT_GT(frames[1].at("alpha_bar"), frames[2].at("alpha_bar"));
  const double alpha_bar = frames[1].at("alpha_bar");
  EXPECT_NEAR(frames[1].at("snr_db").get<double>(), 10 * std::log10(alpha_bar / (1 - alpha_bar)),
              1e-6);
  for (const json& frame : frames) {
    EXPECT_THAT(frame.at("image").get<std::string>(),
                ::testing::StartsWith("data:image/png;base64,iVBOR"));
    const auto counts = frame.at("histogram").get<std::vector<int64_t>>();
    EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), int64_t{0}), 3 * 16 * 16);
  }
  EXPECT_EQ(forward({{"schedule", "cosine"},
                     {"num_timesteps", "300"},
                     {"t", "-1,10,299"},
                     {"size", "16"},
                     {"seed", "7"}})
                .body,
            answer.body);
}

TEST_F(ForwardTest, WithoutTimestepsLevelsAreEvenlySpaced) {
  const json body = json::parse(forward({{"levels", "5"}}).body);
  std::vector<int64_t> t;
  for (const json& frame : body.at("frames")) t.push_back(frame.at("t"));
  EXPECT_THAT(t, ::testing::ElementsAre(-1, 249, 499, 749, 999));
  EXPECT_EQ(body.at("size"), 64);
}

TEST_F(ForwardTest, EveryScheduleThatIsComputedIsShown) {
  for (const char* schedule : {"linear", "linear_scaled", "quad", "cosine", "sigmoid_beta",
                               "sigmoid_alpha_bar", "const", "jsd"}) {
    EXPECT_EQ(forward({{"schedule", schedule}, {"levels", "3"}, {"size", "8"}}).status, 200)
        << schedule;
  }
  EXPECT_EQ(forward({{"zero_terminal_snr", "true"}, {"levels", "3"}, {"size", "8"}}).status, 200);
}

TEST_F(ForwardTest, WhatIsWrongIsNamed) {
  EXPECT_EQ(refused({{"schedule", "cosin"}}), "422 schedule");
  EXPECT_EQ(refused({{"schedule", "custom"}}), "422 schedule");
  EXPECT_EQ(refused({{"num_timesteps", "0"}}), "422 num_timesteps");
  EXPECT_EQ(refused({{"num_timesteps", "1e9"}}), "422 num_timesteps");
  EXPECT_EQ(refused({{"t", "1000"}}), "422 t");
  EXPECT_EQ(refused({{"t", "-2"}}), "422 t");
  EXPECT_EQ(refused({{"t", "1,x"}}), "422 t");
  EXPECT_EQ(refused({{"levels", "1"}}), "422 levels");
  EXPECT_EQ(refused({{"t", "1,"}}), "422 t");
  EXPECT_EQ(refused({{"t", ",1"}}), "422 t");
  EXPECT_EQ(refused({{"levels", "5"}, {"num_timesteps", "3"}}), "422 levels");
  EXPECT_EQ(refused({{"size", "100000"}}), "422 size");
  EXPECT_EQ(refused({{"seed", "-1"}}), "422 seed");
  EXPECT_EQ(refused({{"sizes", "8"}}), "422 sizes");
  EXPECT_THAT(forward({{"sizes", "8"}}).body, HasSubstr("did you mean 'size'"));
  std::string many = "1";
  for (int i = 0; i < 60; ++i) many += ",1";
  EXPECT_EQ(refused({{"t", many}}), "422 t");
}

TEST_F(ForwardTest, BadImagesAreRefusedBeforeTheyAreDecoded) {
  EXPECT_EQ(server_.ask(TestForm{}.post("/v1/forward")).status, 422);
  EXPECT_EQ(forward({}, "not a picture").status, 422);
  EXPECT_EQ(forward({}, png_text(ramp_image()).substr(0, 60)).status, 422);
  EXPECT_EQ(forward({}, png_text(ramp_image(5000, 1, 1))).status, 422) << "a side is too long";
  std::string bomb = png_text(ramp_image());
  bomb.replace(16, 8, std::string("\x00\x00\xff\xff\x00\x00\xff\xff", 8));  // 65535 x 65535
  const RawResponse answer = forward({}, bomb);
  EXPECT_EQ(answer.status, 422);
  EXPECT_EQ(answer.body.find("/work"), std::string::npos) << answer.body;
  const std::string image = png_text(ramp_image());
  EXPECT_EQ(
      server_.ask(TestForm{{}, {{"image", image}, {"image", image}}}.post("/v1/forward")).status,
      422);
  EXPECT_EQ(forward({}, std::string(9 << 20, 'x')).status, 413);
}

TEST_F(ForwardTest, ItNeedsAKeyAndAForm) {
  EXPECT_EQ(server_.ask(TestForm{}.post("/v1/forward", /*with_key=*/false)).status, 401);
  EXPECT_EQ(server_.get("/v1/forward").status, 405);
  EXPECT_EQ(server_
                .ask("POST /v1/forward HTTP/1.1\r\nHost: localhost\r\n" + TestServer::key_field() +
                     "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
                .status,
            415);
}

}  // namespace
}  // namespace ddpm
