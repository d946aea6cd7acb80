#include "ddpm/serving/api/generation_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>

#include "ddpm/serving/http/http_message.h"
#include "serving/served_fake.h"

namespace ddpm {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::served_fake;

const ServedModels& two_models() {
  static const ServedModels models({served_fake({.id = "garments", .num_classes = 3}),
                                    served_fake({.id = "shapes", .num_classes = 0})});
  return models;
}

JobRequest parsed(const char* text) {
  return parse_generation(json::parse(text), two_models(), {});
}
json resolved(const char* text) { return json::parse(parsed(text).text).at("request"); }

/// What a body is refused with: "422 sampler.steps: message".
std::string refusal_of(const std::string& text) {
  try {
    parse_generation(json::parse(text), two_models(), {});
  } catch (const HttpError& error) {
    return std::to_string(error.status) + " " + error.field + ": " + error.what();
  }
  return "taken";
}

TEST(GenerationOptionsTest, AnEmptySamplerIsTheModelsOwn) {
  const JobRequest request = parsed(R"({"model": "shapes", "seed": 7})");
  EXPECT_EQ(request.engine.model, "shapes");
  EXPECT_EQ(request.engine.seed, 7U);
  EXPECT_EQ(request.engine.num_images, 1);
  EXPECT_EQ(request.engine.sampler.kind, SamplerKind::kDpmpp2m);  // of served_fake
  EXPECT_EQ(request.engine.sampler.steps, 20);                    // its default, resolved
  EXPECT_TRUE(request.engine.class_labels.empty());
  EXPECT_EQ(request.format, "png");
}

TEST(GenerationOptionsTest, WhatCantBeKeptIsNotDrawn) {
  const auto asked = [](int64_t num_images, int64_t trace) {
    const json body{{"model", "shapes"}, {"num_images", num_images}, {"trace", trace}};
    parse_generation(body, two_models(), {.max_result_bytes = 7 * (64 + 1024)});
  };
  EXPECT_NO_THROW(asked(7, 0));
  EXPECT_NO_THROW(asked(1, 2));
  EXPECT_THROW(asked(8, 0), HttpError);
  try {
    asked(2, 2);
    ADD_FAILURE() << "eight pictures were taken";
  } catch (const HttpError& error) {
    EXPECT_EQ(error.status, 422);
    EXPECT_EQ(error.field, "num_images");
    EXPECT_THAT(error.what(), HasSubstr("got as many as need up to 8704"));
  }
}

TEST(GenerationOptionsTest, TheResolvedRequestDrawsTheSameAgain) {
  const json first = resolved(R"({"model": "garments", "num_images": 2, "first_image": 5,
      "sampler": {"kind": "euler_a", "steps": 12, "ancestral_eta": 0.5},
      "guidance": {"scale": 2, "interval": [0.2, 5]}, "format": "webp", "trace": 4, "priority": -1})");
  EXPECT_TRUE(first.at("seed").is_number_unsigned());
  EXPECT_EQ(first.at("sampler").at("ancestral_eta"), 0.5);
  EXPECT_EQ(first.at("class"), json({"coat", "boot"}));
  EXPECT_EQ(resolved(first.dump().c_str()), first);
}

TEST(GenerationOptionsTest, SeedsHaveSixtyFourBits) {
  EXPECT_EQ(parsed(R"({"model": "shapes", "seed": 18446744073709551615})").engine.seed,
            18446744073709551615U);
  EXPECT_THAT(refusal_of(R"({"model": "shapes", "seed": -1})"), HasSubstr("422 seed: [seed]"));
  EXPECT_THAT(refusal_of(R"({"model": "shapes", "seed": 1.5})"), HasSubstr("got 1.5"));
  EXPECT_THAT(refusal_of(R"({"model": "shapes", "seed": "7"})"), HasSubstr("422 seed"));
  EXPECT_THAT(
      refusal_of(R"({"model": "shapes", "first_image": 18446744073709551615, "num_images": 2})"),
      HasSubstr("422 first_image"));
}

TEST(GenerationOptionsTest, DrawnSeedsDiffer) {
  const auto seed = [] { return parsed(R"({"model": "shapes"})").engine.seed; };
  EXPECT_FALSE(seed() == seed() && seed() == seed());
}

TEST(GenerationOptionsTest, ClassesAreNamesNumbersListsOrEachInTurn) {
  const auto labels = [](const std::string& value, int num_images) {
    const json body{
        {"model", "garments"}, {"num_images", num_images}, {"class", json::parse(value)}};
    return parse_generation(body, two_models(), {}).engine.class_labels;
  };
  EXPECT_THAT(labels("\"boot\"", 2), ElementsAre(0, 0));
  EXPECT_THAT(labels("2", 1), ElementsAre(2));
  EXPECT_THAT(labels("\"2\"", 1), ElementsAre(2));
  EXPECT_THAT(labels("\"none\"", 1), ElementsAre(3));
  EXPECT_THAT(labels("[\"shirt\", 0]", 2), ElementsAre(1, 0));
  EXPECT_THAT(labels("null", 4), ElementsAre(0, 1, 2, 0));
}

TEST(GenerationOptionsTest, WrongClassesNameThoseThatThereAre) {
  EXPECT_THAT(refusal_of(R"({"model": "garments", "class": "bot"})"),
              ::testing::AllOf(HasSubstr("422 class"), HasSubstr("boot, shirt, coat"),
                               HasSubstr("did you mean 'boot'")));
  EXPECT_THAT(refusal_of(R"({"model": "garments", "class": 3})"), HasSubstr("from 0 to 2"));
  EXPECT_THAT(refusal_of(R"({"model": "garments", "class": -1})"), HasSubstr("got -1"));
  EXPECT_THAT(refusal_of(R"({"model": "garments", "class": 1e300})"), HasSubstr("422 class"));
  EXPECT_THAT(refusal_of(R"({"model": "garments", "class": {}})"), HasSubstr("422 class"));
  EXPECT_THAT(refusal_of(R"({"model": "garments", "class": [0, 1]})"), HasSubstr("got 2"));
  EXPECT_THAT(refusal_of(R"({"model": "garments", "num_images": 2, "class": [0, "x"]})"),
              HasSubstr("422 class[1]"));
  EXPECT_THAT(refusal_of(R"({"model": "shapes", "class": 0})"), HasSubstr("without classes"));
}

TEST(GenerationOptionsTest, UnknownFieldsNameTheNearestKnownOne) {
  EXPECT_THAT(refusal_of(R"({"model": "shapes", "sead": 1})"),
              ::testing::AllOf(HasSubstr("422 sead"), HasSubstr("did you mean 'seed'")));
  EXPECT_THAT(refusal_of(R"({"model": "shapes", "sampler": {"stepz": 1}})"),
              ::testing::AllOf(HasSubstr("422 sampler.stepz"), HasSubstr("did you mean 'steps'")));
  EXPECT_THAT(refusal_of(R"({"model": "shapes", "guidance": {"scal": 1}})"),
              HasSubstr("did you mean 'scale'"));
  EXPECT_THAT(refusal_of(R"({"model": "shapes", "sampler.steps": 1})"), HasSubstr("unknown field"));
}

TEST(GenerationOptionsTest, EveryValueIsChecked) {
  EXPECT_THAT(refusal_of("[]"), HasSubstr("422 : [body]"));
  EXPECT_THAT(refusal_of(R"({"seed": 1})"), HasSubstr("422 model"));
  EXPECT_THAT(refusal_of(R"({"model": "shape"})"),
              ::testing::AllOf(HasSubstr("404 model"), HasSubstr("did you mean 'shapes'")));
  EXPECT_THAT(refusal_of(R"({"model": "../etc"})"), HasSubstr("404 model"));
  EXPECT_THAT(refusal_of(R"({"model": 5})"), HasSubstr("422 model"));
  for (const char* count :
       {"0", "-1", "65", "1e9", "2.5", "\"1\"", "9223372036854775807", "true"}) {
    const std::string body = R"({"model": "shapes", "num_images": )" + std::string(count) + "}";
    EXPECT_THAT(refusal_of(body), HasSubstr("422 num_images")) << body;
  }
  EXPECT_THAT(refusal_of(R"({"model": "shapes", "trace": 21})"), HasSubstr("422 trace"));
  EXPECT_THAT(refusal_of(R"({"model": "shapes", "priority": 2})"), HasSubstr("422 priority"));
  EXPECT_THAT(refusal_of(R"({"model": "shapes", "deadline_ms": -5})"),
              HasSubstr("422 deadline_ms"));
  EXPECT_THAT(refusal_of(R"({"model": "shapes", "previews": 1})"), HasSubstr("422 previews"));
  EXPECT_THAT(refusal_of(R"({"model": "shapes", "format": "gif"})"),
              ::testing::AllOf(HasSubstr("422 format"), HasSubstr("png, webp, npz")));
  EXPECT_THAT(refusal_of(R"({"model": "shapes", "sampler": "ddim"})"), HasSubstr("422 sampler"));
}

TEST(GenerationOptionsTest, SamplerOptionsAreCheckedAgainstTheModel) {
  const auto refusal = [](const std::string& sampler) {
    return refusal_of(R"({"model": "shapes", "sampler": )" + sampler + "}");
  };
  EXPECT_THAT(refusal(R"({"kind": "ddi"})"), HasSubstr("422 sampler.kind"));
  EXPECT_THAT(refusal(R"({"steps": 1001})"), HasSubstr("422 sampler.steps"));
  EXPECT_THAT(refusal(R"({"steps": -1})"), HasSubstr("422 sampler.steps"));
  EXPECT_THAT(refusal(R"({"levels": "karras", "steps": 100000})"), HasSubstr("at most 1000"));
  EXPECT_THAT(refusal(R"({"eta": 2})"), HasSubstr("422 sampler.eta"));
  EXPECT_EQ(parsed(R"({"model": "shapes", "sampler": {"kind": "ddpm"}})").engine.sampler.steps,
            1000);
}

TEST(GenerationOptionsTest, GuidanceNeedsANullClassAndAScale) {
  EXPECT_EQ(parsed(R"({"model": "garments", "guidance": {"scale": 3}})").engine.guidance.scale, 3);
  EXPECT_THAT(refusal_of(R"({"model": "shapes", "guidance": {"scale": 3}})"),
              HasSubstr("422 guidance.scale"));
  EXPECT_THAT(refusal_of(R"({"model": "garments", "guidance": {"rescale": 0.5}})"),
              HasSubstr("422 guidance.scale"));
  EXPECT_THAT(refusal_of(R"({"model": "garments", "guidance": {"scale": 2, "interval": [3, 1]}})"),
              HasSubstr("422 guidance.interval"));
}

TEST(GenerationOptionsTest, TheOnlyModelNeedsNoName) {
  const ServedModels one({served_fake({.id = "alone"})});
  EXPECT_EQ(parse_generation(json::object(), one, {}).engine.model, "alone");
}

TEST(GenerationOptionsTest, WholeNumbersAreIntegersHoweverWritten) {
  const JobRequest request = parsed(
      R"({"model": "garments", "num_images": 2.0, "seed": 7.0, "class": [1.0, 2], "sampler": {"steps": 2e1}})");
  EXPECT_EQ(request.engine.num_images, 2);
  EXPECT_EQ(request.engine.seed, 7U);
  EXPECT_EQ(request.engine.sampler.steps, 20);
  EXPECT_THAT(request.engine.class_labels, ElementsAre(1, 2));
}

TEST(GenerationOptionsTest, NullIsTheDefault) {
  const JobRequest request = parsed(
      R"({"model": "shapes", "seed": null, "sampler": {"steps": null}, "guidance": null, "class": null})");
  EXPECT_EQ(request.engine.sampler.steps, 20);
}

TEST(GenerationOptionsTest, TheFingerprintIsOfWhatTheClientWrote) {
  const char* text = R"({"model": "shapes", "num_images": 2})";
  EXPECT_EQ(parsed(text).fingerprint, parsed(text).fingerprint);
  EXPECT_EQ(parsed(text).fingerprint,
            parsed(R"({"num_images": 2, "model": "shapes"})").fingerprint);
  EXPECT_NE(parsed(text).fingerprint, parsed(R"({"model": "shapes"})").fingerprint);
}

}  // namespace
}  // namespace ddpm
