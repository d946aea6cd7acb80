#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>

#include "ddpm/data/fit.h"
#include "ddpm/data/image_tensor.h"
#include "ddpm/data/npz_reader.h"
#include "ddpm/pipeline/network_denoise_fn.h"
#include "ddpm/sampling/guidance.h"
#include "ddpm/sampling/image_to_image.h"
#include "ddpm/sampling/sampler.h"
#include "ddpm/serving/api/all_routes.h"
#include "serving/edit_images.h"
#include "serving/test_service.h"

namespace ddpm {
namespace {

using nlohmann::json;
using ::testing::_;
using testing::coloured_image;
using ::testing::Contains;
using testing::eventually;
using testing::fake_schedule;
using testing::fake_wide_answer;
using testing::FakeCalls;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;
using testing::png_of;
using testing::served_fake;
using testing::ServedFakeOptions;
using testing::TestForm;
using testing::TestServer;
using testing::TestService;
using Fields = std::vector<std::pair<std::string, std::string>>;

/// Images as an edit answers them in the format npz: [N, H, W, C] uint8.
Tensor pixels_of(const Tensor& images) {
  return ((images.clamp(-1, 1) + 1) * 127.5).round().to(at::kByte).permute({0, 2, 3, 1});
}

/// Edits by a model whose network sees more than x_t.
class EditsConditionedTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }

  void serve(const ServedFakeOptions& options) {
    test_ = std::make_unique<TestService>(std::vector{served_fake(options)});
    server_ = std::make_unique<TestServer>(all_routes(test_->service), test_->metrics);
  }

  RawResponse edit(const std::string& kind, const Fields& fields) const {
    return server_->ask(
        TestForm{fields, {{"image", png_of(coloured_image())}}}.post("/v1/edits/" + kind));
  }
  RawResponse post_json(const std::string& target, const std::string& body) const {
    return server_->ask("POST " + target + " HTTP/1.1\r\nHost: localhost\r\n" +
                        TestServer::key_field() + "Content-Type: application/json\r\n" +
                        "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }

  static Tensor arrays_in(const RawResponse& answer) {
    EXPECT_EQ(answer.status, 200) << answer.body;
    const std::string path = ::testing::TempDir() + "/edits_conditioned.npz";
    std::ofstream(path, std::ios::binary) << answer.body;
    return read_npz(path, {"arr_0"}).at("arr_0");
  }

  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
  std::unique_ptr<TestService> test_ = nullptr;
  std::unique_ptr<TestServer> server_ = nullptr;
};

TEST_F(EditsConditionedTest, ASelfConditionedModelSeesItsGuessesAsInTheSamplingLayer) {
  serve({.num_classes = 2, .channels = 3, .self_conditioning = true, .calls = calls_});
  const Tensor drawn = arrays_in(edit("img2img", {{"seed", "3"},
                                                  {"num_images", "3"},
                                                  {"strength", "0.6"},
                                                  {"format", "npz"},
                                                  {"guidance.scale", "2"},
                                                  {"guidance.interval", "0.3,3"},
                                                  {"sampler.kind", "ddim"},
                                                  {"sampler.steps", "12"}}));
  const NoiseSchedule schedule = fake_schedule();
  const LabelledDenoiseFn answers = [](const Tensor& x, const Tensor& t, const Tensor& labels) {
    return fake_wide_answer(x, t, labels, /*variance=*/false);
  };
  const DenoiseFn denoise =
      network_denoise_fn(answers, {schedule, PredictionType::kEpsilon, /*self_conditioning=*/true},
                         at::tensor({0, 1, 0, 2, 2, 2}, at::kLong));
  const Denoiser denoiser{
      schedule, PredictionType::kEpsilon,
      classifier_free_guidance(schedule, {.scale = 2, .interval = {0.3, 3}}, denoise, denoise)};
  const Tensor expected = image_to_image(denoiser, {.kind = SamplerKind::kDdim, .steps = 12},
                                         image_to_tensor(coloured_image()).unsqueeze(0), 0.6,
                                         {.seed = 3, .num_images = 3, .image_shape = {3, 8, 8}});
  EXPECT_TRUE(drawn.equal(pixels_of(expected)));
}

TEST_F(EditsConditionedTest, ASelfConditionedModelIsAskedForWholeTimestepsAlone) {
  serve({.self_conditioning = true, .calls = calls_});
  for (const char* kind : {"img2img", "superres"}) {
    const RawResponse answer = edit(kind, {{"sampler.kind", "heun"}, {"sampler.levels", "karras"}});
    EXPECT_EQ(answer.status, 422);
    const json error = json::parse(answer.body).at("error");
    EXPECT_EQ(error.at("field"), "sampler");
    EXPECT_THAT(error.at("message").get<std::string>(),
                HasSubstr("whole timesteps for a self-conditioned model"));
  }
  EXPECT_EQ(calls_->loads, 0);
}

/// Enlarges 4x4 pixels to 8x8.
ServedFakeOptions enlarging(const std::shared_ptr<FakeCalls>& calls) {
  return {.num_classes = 2, .channels = 3, .super_resolution = 2, .calls = calls};
}

TEST_F(EditsConditionedTest, AModelThatEnlargesSeesTheImageInPlainSampling) {
  serve(enlarging(calls_));
  const Tensor drawn = arrays_in(edit("superres", {{"seed", "3"},
                                                   {"num_images", "3"},
                                                   {"format", "npz"},
                                                   {"guidance.scale", "2"},
                                                   {"sampler.kind", "dpmpp_2m"},
                                                   {"sampler.steps", "12"}}));
  const NoiseSchedule schedule = fake_schedule();
  const Image small = fit_square(coloured_image(), 4, FitPolicy::kCrop, ResizeFilter::kAuto);
  const LabelledDenoiseFn answers = [](const Tensor& x, const Tensor& t, const Tensor& labels) {
    return fake_wide_answer(x, t, labels, /*variance=*/false);
  };
  const DenoiseFn denoise =
      network_denoise_fn(answers,
                         {.schedule = schedule,
                          .super_resolution = 2,
                          .low_resolution = image_to_tensor(small).unsqueeze(0)},
                         at::tensor({0, 1, 0, 2, 2, 2}, at::kLong));
  const Tensor expected =
      sample(schedule, PredictionType::kEpsilon,
             classifier_free_guidance(schedule, {.scale = 2, .interval = {}}, denoise, denoise),
             {.kind = SamplerKind::kDpmpp2m, .steps = 12},
             {.seed = 3, .num_images = 3, .image_shape = {3, 8, 8}});
  EXPECT_TRUE(drawn.equal(pixels_of(expected)));
  EXPECT_TRUE(eventually([&] { return test_->engine.stats().lent_calls == 12; }));
}

TEST_F(EditsConditionedTest, AModelThatEnlargesHasItsOwnSamplerAndFactor) {
  serve(enlarging(calls_));
  const RawResponse answer = edit("superres", {{"class", "boot"}, {"factor", "2"}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  const std::string path = ::testing::TempDir() + "/edits_conditioned.png";
  std::ofstream(path, std::ios::binary) << answer.body;
  const TextChunks text = read_png_text(path);
  EXPECT_THAT(text, Contains(std::pair("ddpm.sampler", "dpmpp_2m")));
  EXPECT_THAT(text, Contains(std::pair("ddpm.edit", "superres")));
  EXPECT_THAT(text, Contains(std::pair("ddpm.factor", "2")));
  EXPECT_THAT(text, Not(Contains(Pair("ddpm.resamples", _)))) << "nothing is restored";
}

TEST_F(EditsConditionedTest, WhatAModelThatEnlargesCannotDoIsNamed) {
  serve(enlarging(calls_));
  const auto refused = [&](const std::string& kind, const Fields& fields) {
    const RawResponse answer = edit(kind, fields);
    EXPECT_EQ(answer.status, 422) << answer.body;
    return json::parse(answer.body).at("error").at("message").get<std::string>();
  };
  EXPECT_EQ(refused("superres", {{"factor", "4"}}),
            "[factor] expected what the model was trained for, 2, got 4");
  EXPECT_EQ(refused("superres", {{"resamples", "2"}}),
            "[resamples] expected with a model that was not trained to enlarge images, this one "
            "was");
  for (const std::string kind : {"inpaint", "img2img", "colorize"}) {
    EXPECT_EQ(refused(kind, {}), "[model] " + kind +
                                     ": expected one that draws from noise alone, got one that "
                                     "enlarges images 2 times");
  }
  EXPECT_THAT(refused("interpolate", {{"class", "boot"}}), HasSubstr("[model] interpolate"));
  const RawResponse without = server_->ask(TestForm{}.post("/v1/edits/superres"));
  EXPECT_EQ(without.status, 422);
  EXPECT_THAT(without.body, HasSubstr("expected one PNG or JPEG file of this name, got 0"));
  EXPECT_EQ(calls_->loads, 0) << "a request that is wrong reads no model";
}

TEST_F(EditsConditionedTest, JobsAreRefusedByAModelThatEnlarges) {
  serve(enlarging(calls_));
  for (const char* target : {"/v1/jobs", "/v1/generate"}) {
    const RawResponse answer = post_json(target, "{}");
    EXPECT_EQ(answer.status, 422);
    const json error = json::parse(answer.body).at("error");
    EXPECT_EQ(error.at("field"), "model");
    EXPECT_EQ(error.at("message"),
              "[model] expected one that draws from noise alone, got 'fake', which enlarges images "
              "2 times: POST /v1/edits/superres asks it");
  }
  const RawResponse openai = post_json("/v1/images/generations", R"({"model": "fake"})");
  EXPECT_EQ(openai.status, 400);
  EXPECT_EQ(json::parse(openai.body).at("error").at("param"), "model");
  const RawResponse info = server_->get("/gradio_api/info");
  ASSERT_EQ(info.status, 200);
  EXPECT_THAT(info.body, Not(HasSubstr("\"fake\""))) << "its endpoint takes no image";
  const json shown = json::parse(server_->get("/v1/models/fake").body).at("ddpm");
  EXPECT_EQ(shown.at("super_resolution"), 2);
  EXPECT_FALSE(shown.at("self_conditioning").get<bool>());
}

}  // namespace
}  // namespace ddpm
