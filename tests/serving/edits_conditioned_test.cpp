#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>

#include "ddpm/data/image_tensor.h"
#include "ddpm/data/npz_reader.h"
#include "ddpm/pipeline/network_denoise_fn.h"
#include "ddpm/sampling/guidance.h"
#include "ddpm/sampling/image_to_image.h"
#include "ddpm/serving/api/edit_routes.h"
#include "serving/edit_images.h"
#include "serving/test_service.h"

namespace ddpm {
namespace {

using nlohmann::json;
using testing::coloured_image;
using testing::fake_guessing_answer;
using testing::fake_schedule;
using testing::FakeCalls;
using ::testing::HasSubstr;
using testing::png_of;
using testing::served_fake;
using testing::TestForm;
using testing::TestServer;
using testing::TestService;

/// Images as an edit answers them in the format npz: [N, H, W, C] uint8.
Tensor pixels_of(const Tensor& images) {
  return ((images.clamp(-1, 1) + 1) * 127.5).round().to(at::kByte).permute({0, 2, 3, 1});
}

/// Edits by a model whose network sees more than x_t.
class EditsConditionedTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }

  RawResponse edit(const std::string& kind,
                   const std::vector<std::pair<std::string, std::string>>& fields) const {
    const TestServer server(routes(), test_->metrics);
    return server.ask(
        TestForm{fields, {{"image", png_of(coloured_image())}}}.post("/v1/edits/" + kind));
  }

  HttpRouter routes() const {
    HttpRouter router;
    add_edit_routes(router, test_->service);
    return router;
  }

  static Tensor arrays_in(const RawResponse& answer) {
    EXPECT_EQ(answer.status, 200) << answer.body;
    const std::string path = ::testing::TempDir() + "/edits_conditioned.npz";
    std::ofstream(path, std::ios::binary) << answer.body;
    return read_npz(path, {"arr_0"}).at("arr_0");
  }

  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
  std::unique_ptr<TestService> test_ = nullptr;
};

TEST_F(EditsConditionedTest, ASelfConditionedModelSeesItsGuessesAsInTheSamplingLayer) {
  test_ = std::make_unique<TestService>(std::vector{
      served_fake({.num_classes = 2, .channels = 3, .self_conditioning = true, .calls = calls_})});
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
    return fake_guessing_answer(x, t, labels, /*variance=*/false);
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
  test_ = std::make_unique<TestService>(
      std::vector{served_fake({.self_conditioning = true, .calls = calls_})});
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

}  // namespace
}  // namespace ddpm
