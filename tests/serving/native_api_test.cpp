#include "serving/native_api.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "ddpm/data/image_codec.h"
#include "ddpm/data/image_tensor.h"

namespace ddpm {
namespace {

using nlohmann::json;
using testing::eventually;
using ::testing::HasSubstr;

class NativeApiTest : public testing::NativeApi {};

TEST_F(NativeApiTest, ModelsAreListedAsOpenAiClientsReadThem) {
  const json list = get_json("/v1/models");
  EXPECT_EQ(list.at("object"), "list");
  const json& model = list.at("data").at(0);
  EXPECT_EQ(model.at("id"), "fake");
  EXPECT_EQ(model.at("object"), "model");
  EXPECT_EQ(model.at("created"), 1'700'000'000);
  const json& own = model.at("ddpm");
  EXPECT_EQ(own.at("image_shape"), json({3, 8, 8}));
  EXPECT_EQ(own.at("classes"), json({"boot", "shirt"}));
  EXPECT_EQ(own.at("num_timesteps"), 1000);
  EXPECT_EQ(own.at("default_sampler").at("kind"), "dpmpp_2m");
  EXPECT_EQ(own.at("hash"), std::string(64, 'a'));
  EXPECT_EQ(get_json("/v1/models/fake"), model);
  const RawResponse unknown = server_.get("/v1/models/other");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(error_of(unknown).at("code"), "unknown_model");
}

TEST_F(NativeApiTest, CapabilitiesAreTheFieldsOfTheOptions) {
  const json all = get_json("/v1/capabilities");
  EXPECT_EQ(all.at("version"), "1.2.3");
  EXPECT_EQ(all.at("formats"), json({"png", "webp", "npz"}));
  EXPECT_EQ(all.at("limits").at("max_images"), 64);
  EXPECT_EQ(all.at("samplers").size(), 18U);
  std::map<std::string, json> options, samplers;
  for (const json& option : all.at("sampler_options")) options[option.at("name")] = option;
  for (const json& sampler : all.at("samplers")) samplers[sampler.at("kind")] = sampler;
  EXPECT_EQ(options.at("steps").at("type"), "integer");
  EXPECT_EQ(options.at("steps").at("min"), 0);
  EXPECT_EQ(options.at("steps").at("max"), nullptr);
  EXPECT_EQ(options.at("eta").at("max"), 1.0);
  EXPECT_EQ(options.at("clip").at("values"), json({"none", "clip", "dynamic"}));
  EXPECT_EQ(options.at("lower_order_final").at("type"), "boolean");
  EXPECT_EQ(all.at("guidance_options").at(2).at("type"), "list");
  EXPECT_EQ(samplers.at("ddim").at("default_steps"), 50);
  EXPECT_EQ(samplers.at("ddpm").at("default_steps"), nullptr);
  for (const auto& [kind, sampler] : samplers) {
    for (const json& name : sampler.at("options")) EXPECT_TRUE(options.contains(name)) << name;
  }
}

TEST_F(NativeApiTest, AJobDrawsWhatSampleDraws) {
  const RawResponse accepted =
      post("/v1/jobs", body_of(6, {{"num_images", 2}, {"class", "shirt"}}));
  ASSERT_EQ(accepted.status, 202) << accepted.body;
  const json first = json::parse(accepted.body);
  const std::string id = first.at("id");
  EXPECT_EQ(accepted.field("Location"), "/v1/jobs/" + id);
  EXPECT_EQ(first.at("links").at("events"), "/v1/jobs/" + id + "/events");
  const json job = wait_until_over(id);
  EXPECT_EQ(job.at("state"), "succeeded");
  EXPECT_EQ(job.at("error"), nullptr);
  EXPECT_EQ(job.at("position"), nullptr);
  EXPECT_EQ(job.at("progress"),
            json({{"step", 6}, {"steps", 6}, {"images_done", 2}, {"images", 2}}));
  EXPECT_EQ(job.at("request").at("class"), json({"shirt", "shirt"}));
  EXPECT_THAT(job.at("created_at").get<std::string>(), ::testing::EndsWith("Z"));
  ASSERT_EQ(job.at("images").size(), 2U);
  for (int64_t i = 0; i < 2; ++i) {
    const json& image = job.at("images").at(static_cast<size_t>(i));
    EXPECT_EQ(image.at("seed"), 7);
    EXPECT_EQ(image.at("index"), i);
    EXPECT_EQ(image.at("width"), 8);
    const RawResponse png = server_.get(image.at("url"));
    EXPECT_EQ(png.field("Content-Type"), "image/png");
    const Image drawn = decode_image({png.body.begin(), png.body.end()}, "png", 100);
    const EngineRequest asked{
        .seed = 7, .sampler = {.kind = SamplerKind::kDdim, .steps = 6}, .class_labels = {1}};
    const auto model = test_.models.find("fake")->engine;
    EXPECT_EQ(drawn.pixels, image_from_tensor(testing::sampled(*model, asked, i)).pixels);
  }
}

TEST_F(NativeApiTest, TheResolvedRequestIsABodyThatDrawsTheSame) {
  const json job = wait_until_over(submit({{"model", "fake"}, {"num_images", 3}}));
  const json again = wait_until_over(submit(job.at("request")));
  EXPECT_EQ(again.at("request"), job.at("request"));
  const auto bytes = [&](const json& of) {
    const RawResponse png = server_.get(of.at("images").at(2).at("url"));
    return decode_image({png.body.begin(), png.body.end()}, "png", 100).pixels;
  };
  EXPECT_EQ(bytes(job), bytes(again));
}

TEST_F(NativeApiTest, ImagesHaveEtagsRangesAndHead) {
  const std::string id = submit(body_of(2));
  wait_until_over(id);
  const std::string url = "/v1/jobs/" + id + "/images/0";
  const RawResponse whole = server_.get(url);
  ASSERT_EQ(whole.status, 200);
  EXPECT_EQ(server_.get(url + ".png").body, whole.body);
  EXPECT_THAT(whole.field("Cache-Control"), HasSubstr("private"));
  const std::string etag = whole.field("ETag");
  EXPECT_EQ(server_.ask(request_text("GET", url, "If-None-Match: " + etag + "\r\n")).status, 304);
  const RawResponse part = server_.ask(request_text("GET", url, "Range: bytes=1-3\r\n"));
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.body, "PNG");
  RawClient client(server_.port());
  const RawResponse head = client.ask(request_text("HEAD", url), /*has_body=*/false);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.field("Content-Length"), std::to_string(whole.body.size()));
  for (const char* name : {"1", "0.webp", "0.pn", "-1", "0x0", "99999999999999999999", "..%2f0"}) {
    EXPECT_EQ(server_.get("/v1/jobs/" + id + "/images/" + name).status / 100, 4) << name;
  }
}

TEST_F(NativeApiTest, EveryFormatIsServedUnderItsName) {
  const std::map<std::string, std::string> types{
      {"png", "image/png"}, {"webp", "image/webp"}, {"npz", "application/x-npz"}};
  for (const auto& [format, type] : types) {
    const json job = wait_until_over(submit(body_of(2, {{"format", format}})));
    const json& image = job.at("images").at(0);
    EXPECT_EQ(image.at("media_type"), type);
    EXPECT_THAT(image.at("url").get<std::string>(), ::testing::EndsWith("0." + format));
    EXPECT_EQ(server_.get(image.at("url")).field("Content-Type"), type);
  }
}

TEST_F(NativeApiTest, AnIdempotencyKeyGivesTheSameJobAgain) {
  const std::string key = "Idempotency-Key: again-1\r\n";
  const json body{{"model", "fake"}};  // without a seed: the first one's counts
  const json first = json::parse(post("/v1/jobs", body, key).body);
  const json second = json::parse(post("/v1/jobs", body, key).body);
  EXPECT_EQ(first.at("id"), second.at("id"));
  EXPECT_EQ(first.at("request").at("seed"), second.at("request").at("seed"));
  const RawResponse other = post("/v1/jobs", body_of(3), key);
  EXPECT_EQ(other.status, 409);
  EXPECT_EQ(error_of(other).at("code"), "conflict");
  EXPECT_EQ(post("/v1/jobs", body, "Idempotency-Key: a b\r\n").status, 400);
}

TEST_F(NativeApiTest, JobsAreListedNewestFirstInPages) {
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(submit(body_of(1)));
  const json page = get_json("/v1/jobs?limit=2");
  EXPECT_EQ(page.at("data").size(), 2U);
  EXPECT_EQ(page.at("data").at(0).at("id"), ids[2]);
  EXPECT_EQ(page.at("has_more"), true);
  const json rest = get_json("/v1/jobs?limit=2&after=" + ids[1]);
  ASSERT_EQ(rest.at("data").size(), 1U);
  EXPECT_EQ(rest.at("data").at(0).at("id"), ids[0]);
  EXPECT_EQ(rest.at("has_more"), false);
  EXPECT_EQ(server_.get("/v1/jobs?limit=101").status, 422);
  EXPECT_EQ(server_.get("/v1/jobs?limit=x").status, 422);
  EXPECT_EQ(error_of(server_.get("/v1/jobs?after=nothing")).at("field"), "after");
}

TEST_F(NativeApiTest, ADeleteCancelsWhatIsOpenAndForgetsWhatIsOver) {
  hold();
  const std::string id = submit(body_of(500));
  const RawResponse cancelled = remove("/v1/jobs/" + id);
  EXPECT_EQ(cancelled.status, 200);
  EXPECT_EQ(json::parse(cancelled.body).at("id"), id);
  release();
  EXPECT_EQ(wait_until_over(id).at("state"), "cancelled");
  EXPECT_EQ(remove("/v1/jobs/" + id).status, 200);
  EXPECT_EQ(server_.get("/v1/jobs/" + id).status, 404);
  EXPECT_EQ(remove("/v1/jobs/" + id).status, 404);
}

}  // namespace
}  // namespace ddpm
