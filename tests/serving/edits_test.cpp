#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <latch>

#include "ddpm/data/image_tensor.h"
#include "ddpm/data/npz_reader.h"
#include "ddpm/sampling/guidance.h"
#include "ddpm/sampling/image_to_image.h"
#include "ddpm/sampling/interpolate.h"
#include "ddpm/serving/api/edit_queue.h"
#include "ddpm/serving/api/edit_routes.h"
#include "serving/edit_images.h"
#include "serving/test_service.h"

namespace ddpm {
namespace {

using nlohmann::json;
using testing::coloured_image;
using testing::eventually;
using testing::fake_answer;
using testing::fake_schedule;
using testing::FakeCalls;
using ::testing::HasSubstr;
using testing::picture_in;
using testing::png_of;
using testing::TestForm;
using testing::TestServer;
using testing::TestService;
using Fields = std::vector<std::pair<std::string, std::string>>;

/// White in the left half.
Image half_mask() {
  Image mask = Image::filled(8, 8, 1);
  for (int64_t y = 0; y < 8; ++y) {
    for (int64_t x = 0; x < 4; ++x) *mask.at(x, y) = 255;
  }
  return mask;
}

/// Of `ddpm edit`'s default: 100 steps of ddpm in blocks of 10; the first block begins with noise
/// alone and is taken once, the other nine five times.
constexpr uint64_t kDefaultRestoreCalls = 10 + 9 * 10 * 5;

HttpRouter edit_routes(Service& service) {
  HttpRouter router;
  add_edit_routes(router, service);
  return router;
}

class EditsTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }

  RawResponse edit(const std::string& kind, const Fields& fields, const Fields& files) const {
    return server_.ask(TestForm{fields, files}.post("/v1/edits/" + kind));
  }
  RawResponse edit_image(const std::string& kind, const Fields& fields) const {
    return edit(kind, fields, {{"image", png_of(coloured_image())}});
  }
  std::string refused(const std::string& kind, const Fields& fields, const Fields& files) const {
    const RawResponse answer = edit(kind, fields, files);
    if (answer.status == 200) return "taken";
    const json error = json::parse(answer.body).at("error");
    return std::to_string(answer.status) + " " + error.at("field").get<std::string>();
  }
  static Fields image() { return {{"image", png_of(coloured_image())}}; }

  double counted(const std::string& kind, const std::string& outcome) {
    return test_.metrics
        .counter("ddpm_edits_total", "Edits, by kind and how they ended.",
                 {{"kind", kind}, {"outcome", outcome}})
        .value();
  }

  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
  TestService test_{calls_};
  TestServer server_{edit_routes(test_.service), test_.metrics};
};

TEST_F(EditsTest, InpaintingKeepsWhatIsBlackAndPaintsTheRest) {
  const RawResponse answer =
      edit("inpaint", {{"seed", "7"}, {"class", "boot"}, {"sampler.steps", "20"}},
           {{"image", png_of(coloured_image())}, {"mask", png_of(half_mask())}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.field("Content-Type"), "image/png");
  EXPECT_EQ(answer.field("X-Seed"), "7");
  const Image source = coloured_image();
  const Image painted = picture_in(answer.body);
  int64_t num_changed = 0;
  for (int64_t y = 0; y < 8; ++y) {
    for (int64_t x = 0; x < 8; ++x) {
      for (int64_t c = 0; c < 3; ++c) {
        const bool is_same = painted.at(x, y)[c] == source.at(x, y)[c];
        EXPECT_TRUE(is_same || x < 4) << x << " " << y;
        num_changed += !is_same;
      }
    }
  }
  EXPECT_GT(num_changed, 60);
  EXPECT_GT(test_.engine.stats().lent_calls, 20U);
}

TEST_F(EditsTest, EnlargedSquaresHaveTheSourcesMeans) {
  const RawResponse answer = edit("superres", {{"factor", "2"}, {"sampler.steps", "20"}},
                                  {{"image", png_of(coloured_image(4))}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  const Tensor large = image_to_tensor(picture_in(answer.body)).unsqueeze(0);
  const Tensor small = image_to_tensor(coloured_image(4)).unsqueeze(0);
  const Tensor means = at::avg_pool2d(large, 2);
  const Tensor is_shown = at::max_pool2d(large.abs(), 2).lt(1);  // else it was cut
  EXPECT_LT(((means - small) * is_shown).abs().max().item<double>(), 1.5 / 127.5);
}

TEST_F(EditsTest, ColouredImagesHaveTheSourcesMean) {
  const RawResponse answer = edit_image("colorize", {{"seed", "1"}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  const Tensor coloured = image_to_tensor(picture_in(answer.body));
  const Tensor source = image_to_tensor(coloured_image());
  const Tensor is_shown = coloured.abs().amax(0).lt(1);  // else it was cut
  EXPECT_GT(is_shown.sum().item<int64_t>(), 10);
  EXPECT_LT(((coloured.mean(0) - source.mean(0)) * is_shown).abs().max().item<double>(),
            1.5 / 127.5);
  EXPECT_GT((coloured - source).abs().max().item<double>(), 0.1) << "colours are drawn";
  EXPECT_TRUE(eventually([&] { return test_.engine.stats().lent_calls == kDefaultRestoreCalls; }))
      << test_.engine.stats().lent_calls;
  const RawResponse two = edit_image("colorize", {{"sampler.steps", "20"}, {"num_images", "2"}});
  EXPECT_EQ(json::parse(two.body).at("images").size(), 2U);
}

TEST_F(EditsTest, ImageToImageIsTheSamplingLayersOwn) {
  const RawResponse answer = edit_image("img2img", {{"seed", "18446744073709551615"},
                                                    {"num_images", "3"},
                                                    {"strength", "0.4"},
                                                    {"format", "npz"},
                                                    {"guidance.scale", "2"},
                                                    {"sampler.kind", "ddim"},
                                                    {"sampler.steps", "10"}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  const Tensor labels = at::tensor({0, 1, 0}, at::kLong);
  const auto labelled = [](const Tensor& of_rows) {
    return [of_rows](const Tensor& x, const Tensor& t) {
      return fake_answer(x, t, of_rows, /*variance=*/false);
    };
  };
  const NoiseSchedule schedule = fake_schedule();
  GuidanceOptions guidance;
  guidance.scale = 2;
  const Denoiser denoiser{
      schedule, PredictionType::kEpsilon,
      classifier_free_guidance(schedule, guidance, labelled(labels),
                               labelled(at::cat({labels, at::full({3}, 2, at::kLong)})))};
  const Tensor expected =
      image_to_image(denoiser, {.kind = SamplerKind::kDdim, .steps = 10},
                     image_to_tensor(coloured_image()).unsqueeze(0), 0.4,
                     {.seed = 18446744073709551615U, .num_images = 3, .image_shape = {3, 8, 8}});
  const std::string path = ::testing::TempDir() + "/edits_test.npz";
  std::ofstream(path, std::ios::binary) << answer.body;
  const auto arrays = read_npz(path, {"arr_0", "arr_1"});
  const Tensor shown = ((expected.clamp(-1, 1) + 1) * 127.5).round().to(at::kByte);
  EXPECT_TRUE(arrays.at("arr_0").equal(shown.permute({0, 2, 3, 1})));
  EXPECT_TRUE(arrays.at("arr_1").equal(labels));
}

TEST_F(EditsTest, APathLeadsFromOneImageToTheOther) {
  const Image grey = Image::filled(8, 8, 3, 128);
  const Fields two{{"image", png_of(coloured_image())}, {"image", png_of(grey)}};
  const Fields path{{"class", "shirt"}, {"frames", "3"}};
  Fields as_array = path;
  as_array.emplace_back("format", "npz");
  const RawResponse answer = edit("interpolate", as_array, two);
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.field("X-Seed"), "");
  const Denoiser denoiser{fake_schedule(), PredictionType::kEpsilon,
                          [](const Tensor& x, const Tensor& t) {
                            return fake_answer(x, t, at::ones({x.size(0)}, at::kLong), false);
                          }};
  const SamplerOptions sampler = path_sampler({});  // as `ddpm edit`: not as many steps as dpmpp_2m
  const Tensor sources = at::stack({image_to_tensor(coloured_image()), image_to_tensor(grey)});
  const Tensor expected = decode(denoiser, sampler, noise_path(denoiser, sampler, sources, 3));
  const std::string file = ::testing::TempDir() + "/edits_path.npz";
  std::ofstream(file, std::ios::binary) << answer.body;
  const Tensor shown = ((expected.clamp(-1, 1) + 1) * 127.5).round().to(at::kByte);
  EXPECT_TRUE(read_npz(file, {"arr_0"}).at("arr_0").equal(shown.permute({0, 2, 3, 1})));

  EXPECT_EQ(json::parse(edit("interpolate", path, two).body).at("images").size(), 3U);
  Fields moving = path;
  moving.emplace_back("format", "webp");
  const RawResponse animation = edit("interpolate", moving, two);
  EXPECT_EQ(animation.field("Content-Type"), "image/webp");
  EXPECT_TRUE(animation.body.starts_with("RIFF"));
}

TEST_F(EditsTest, APathBetweenSeedsBeginsAndEndsAtTheirSamples) {
  const RawResponse answer = edit("interpolate",
                                  {{"class", "boot"},
                                   {"seeds", "3,9"},
                                   {"frames", "2"},
                                   {"sampler.kind", "ddim"},
                                   {"format", "npz"}},
                                  {});
  ASSERT_EQ(answer.status, 200) << answer.body;
  const std::string file = ::testing::TempDir() + "/edits_seeds.npz";
  std::ofstream(file, std::ios::binary) << answer.body;
  const Tensor frames = read_npz(file, {"arr_0"}).at("arr_0");
  const auto fake = [](const Tensor& x, const Tensor& t) {
    return fake_answer(x, t, at::zeros({x.size(0)}, at::kLong), false);
  };
  for (int64_t end = 0; end < 2; ++end) {
    const Tensor drawn =
        sample(fake_schedule(), PredictionType::kEpsilon, fake, {.kind = SamplerKind::kDdim},
               {.seed = end == 0 ? 3U : 9U, .image_shape = {3, 8, 8}});
    const Tensor shown = ((drawn.clamp(-1, 1) + 1) * 127.5).round().to(at::kByte);
    EXPECT_TRUE(frames[end].equal(shown[0].permute({1, 2, 0}))) << end;
  }
}

TEST_F(EditsTest, PicturesSayHowTheyWereMade) {
  const RawResponse answer = edit_image("img2img", {{"seed", "5"}, {"class", "boot"}});
  const std::string path = ::testing::TempDir() + "/edits_test.png";
  std::ofstream(path, std::ios::binary) << answer.body;
  const TextChunks text = read_png_text(path);
  const auto has = [&](const std::string& key, const std::string& value) {
    return std::find(text.begin(), text.end(), std::pair(key, value)) != text.end();
  };
  EXPECT_TRUE(has("ddpm.edit", "img2img"));
  EXPECT_TRUE(has("ddpm.strength", "0.5"));
  EXPECT_TRUE(has("ddpm.seed", "5"));
  EXPECT_TRUE(has("ddpm.class", "boot"));
  EXPECT_TRUE(has("ddpm.sampler", "dpmpp_2m"));
}

TEST_F(EditsTest, WhatIsWrongIsNamed) {
  const Fields with_mask{image()[0], {"mask", png_of(half_mask())}};
  const Fields all_kept{image()[0], {"mask", png_of(Image::filled(8, 8, 1))}};
  EXPECT_EQ(refused("img2img", {{"model", "other"}}, image()), "404 model");
  EXPECT_EQ(refused("img2img", {{"strength", "0"}}, image()), "422 strength");
  EXPECT_EQ(refused("img2img", {{"strength", "1.5"}}, image()), "422 strength");
  EXPECT_EQ(refused("img2img", {{"strenght", "0.5"}}, image()), "422 strenght");
  EXPECT_EQ(refused("img2img", {{"num_images", "17"}}, image()), "422 num_images");
  EXPECT_EQ(refused("img2img", {{"sampler.steps", "5000"}}, image()), "422 sampler.steps");
  EXPECT_EQ(refused("img2img", {{"sampler.kind", "ddimm"}}, image()), "422 sampler.kind");
  EXPECT_EQ(refused("img2img", {{"class", "hat"}}, image()), "422 class");
  EXPECT_EQ(refused("img2img", {{"format", "bmp"}}, image()), "422 format");
  EXPECT_EQ(refused("img2img", {}, {}), "422 image");
  EXPECT_EQ(refused("img2img", {}, {image()[0], {"mask", "x"}}), "422 mask");
  EXPECT_EQ(refused("inpaint", {}, image()), "422 mask");
  EXPECT_EQ(refused("inpaint", {}, all_kept), "422 mask");
  EXPECT_EQ(refused("inpaint", {{"resamples", "1000"}}, with_mask), "422 resamples");
  EXPECT_EQ(refused("inpaint", {{"sampler.kind", "dpmpp_2m"}}, with_mask), "422 sampler");
  EXPECT_EQ(refused("superres", {{"factor", "3"}}, image()), "422 factor");
  EXPECT_EQ(refused("interpolate", {{"class", "boot"}}, image()), "422 image");
  EXPECT_EQ(refused("interpolate", {{"seeds", "1,2"}}, {}), "422 class");
  EXPECT_EQ(refused("interpolate", {{"class", "boot"}, {"seeds", "1"}}, {}), "422 seeds");
  EXPECT_EQ(refused("interpolate", {{"class", "boot"}, {"seed", "1"}}, {}), "422 seed");
  const Fields two{image()[0], image()[0]};
  EXPECT_EQ(refused("interpolate", {{"class", "boot"}, {"sampler.kind", "ddpm"}}, two),
            "422 sampler.kind");
  EXPECT_EQ(refused("interpolate", {{"class", "boot"}, {"sampler.eta", "1"}}, two),
            "422 sampler.eta");
  EXPECT_EQ(calls_->loads, 0) << "a request that is wrong reads no model";
  EXPECT_EQ(server_.ask(TestForm{}.post("/v1/edits/img2img", false)).status, 401);
  EXPECT_EQ(server_.ask(TestForm{}.post("/v1/edits/unknown")).status, 404);
}

TEST_F(EditsTest, AFewWaitAndMoreAreTurnedAway) {
  std::latch opened(1);
  calls_->before = [&](const Tensor&, const Tensor&, const Tensor&) { opened.wait(); };
  const std::string request = TestForm{{{"sampler.steps", "2"}}, image()}.post("/v1/edits/img2img");
  std::vector<std::unique_ptr<RawClient>> clients;
  MetricGauge& open = test_.metrics.gauge("ddpm_edits_open", "Edits that wait or are made.");
  for (int i = 0; i < 1 + EditQueue::kMaxWaiting; ++i) {
    clients.push_back(std::make_unique<RawClient>(server_.port()));
    clients.back()->send(request);
    ASSERT_TRUE(eventually([&] { return open.value() == i + 1; }));
    // the first one is taken out of the queue before the next ones come
    ASSERT_TRUE(eventually([&] { return calls_->loads == 1; }));
  }
  const RawResponse turned_away = server_.ask(request);
  EXPECT_EQ(turned_away.status, 429);
  EXPECT_FALSE(turned_away.field("Retry-After").empty());
  opened.count_down();
  for (const auto& client : clients) EXPECT_EQ(client->read_response().status, 200);
  EXPECT_EQ(counted("img2img", "done"), 1 + EditQueue::kMaxWaiting);
  EXPECT_EQ(counted("img2img", "rejected"), 1);
}

TEST_F(EditsTest, AnEditWhoseClientLeavesEnds) {
  calls_->before = [](const Tensor&, const Tensor&, const Tensor&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  };
  {
    RawClient client(server_.port());
    client.send(TestForm{{{"sampler.steps", "1000"}, {"strength", "1"}}, image()}.post(
        "/v1/edits/img2img"));
    ASSERT_TRUE(eventually([&] { return calls_->loads == 1; }));
  }
  EXPECT_TRUE(eventually([&] { return counted("img2img", "cancelled") == 1; }));
  EXPECT_LT(test_.engine.stats().lent_calls, 1000U);
}

TEST_F(EditsTest, AFailingNetworkALateEditAndAServerThatStopsSayWhy) {
  calls_->before = [](const Tensor&, const Tensor&, const Tensor&) {
    throw std::runtime_error("/secret/path");
  };
  const RawResponse failed = edit_image("img2img", {});
  EXPECT_EQ(failed.status, 500);
  EXPECT_EQ(failed.body.find("secret"), std::string::npos);
  calls_->before = [](const Tensor& x, const Tensor&, const Tensor&) { x.fill_(NAN); };
  EXPECT_THAT(edit_image("img2img", {{"sampler.clip", "none"}}).body, HasSubstr("non_finite"));
  calls_->before = [](const Tensor&, const Tensor&, const Tensor&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  };
  EXPECT_EQ(edit_image("img2img", {{"deadline_ms", "30"}}).status, 504);
  test_.service.is_draining = true;
  EXPECT_EQ(edit_image("img2img", {}).status, 503);
}

}  // namespace
}  // namespace ddpm
