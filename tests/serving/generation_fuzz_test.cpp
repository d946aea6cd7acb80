#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "ddpm/config/field_list.h"
#include "ddpm/sampling/sampler_plan.h"
#include "ddpm/serving/api/generation_options.h"
#include "ddpm/serving/engine/engine_admission.h"
#include "ddpm/serving/http/http_json.h"
#include "ddpm/serving/http/http_message.h"
#include "serving/served_fake.h"

namespace ddpm {
namespace {

using nlohmann::json;
using testing::served_fake;

/// Bodies that clients might send, and everything that they did not think of.
class GenerationFuzzTest : public ::testing::Test {
 protected:
  size_t below(size_t n) { return random_() % n; }

  json any_value() {
    switch (below(10)) {
      case 0:
        return nullptr;
      case 1:
        return below(2) == 0;
      case 2:
        return -static_cast<int64_t>(below(1000));
      case 3:
        return below(5000);
      case 4:
        return random_();
      case 5:
        return json::array({1, "boot", nullptr, 1e300});
      case 6:
        return json::object({{"steps", 3}});
      case 7:
        return std::string(below(100), 'x');
      default:
        return numbers_[below(numbers_.size())];
    }
  }

  /// A member of an object: mostly one that is known.
  void put_any(json& object, const std::vector<Field>& fields) {
    const Field& field = fields[below(fields.size())];
    const bool is_word = !field.words.empty() && below(4) != 0;
    const std::string key = below(20) == 0 ? field.key + "s" : field.key;
    object[key] = is_word ? json(field.words[below(field.words.size())]) : any_value();
  }

  json any_body() {
    json body{{"model", below(2) == 0 ? "garments" : "shapes"}};
    GenerationFields plain;
    SamplerOptions sampler;
    GuidanceOptions guidance;
    for (size_t i = below(3); i > 0; --i) put_any(body, list_generation_fields(plain, {}));
    for (size_t i = below(4); i > 0; --i) put_any(body["sampler"], list_fields(sampler));
    for (size_t i = below(2); i > 0; --i) put_any(body["guidance"], list_fields(guidance));
    for (const char* key : {"seed", "first_image", "class", "sampler", "guidance"}) {
      if (below(12) == 0) body[key] = any_value();
    }
    return body;
  }

  /// Whether the body was taken. What is taken is sound as far as the engine checks it, and its
  /// resolved form means the same; what is not is refused as a client's mistake that names a place.
  bool is_taken(const json& body) const {
    JobRequest request;
    try {
      request = parse_generation(body, models_, {});
    } catch (const HttpError& error) {
      EXPECT_TRUE(error.status == 422 || error.status == 404) << body;
      EXPECT_TRUE(std::string(error.what()).starts_with("[")) << error.what();
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << body;
      EXPECT_LT(std::string(error.what()).size(), 2000U) << body;
      return false;
    }
    const EngineModel& model = *models_.find(request.engine.model)->engine;
    EXPECT_NO_THROW(check_request(request.engine, model, {})) << body;
    const json resolved = json::parse(request.text);
    const JobRequest again = parse_generation(resolved.at("request"), models_, {});
    EXPECT_EQ(again.text, request.text) << body;
    try {
      make_sampler_plan(model.schedule, model.prediction, request.engine.sampler);
    } catch (const std::invalid_argument&) {  // options that contradict each other: 422 at submit
    }
    return true;
  }

  std::mt19937_64 random_{1};
  const ServedModels models_{{served_fake({.id = "garments", .num_classes = 3}),
                              served_fake({.id = "shapes", .num_classes = 0})}};
  const std::vector<double> numbers_{0,    -0.0, 0.5, 1, 1e-300, 5e-324, 1e300, -1e300, 0.999,
                                     1e18, 2e19, 80,  3, 7,      64,     1000,  1001,   20};
};

TEST_F(GenerationFuzzTest, AnyObjectIsTakenOrRefused) {
  int num_taken = 0;
  constexpr int kBodies = 3000;
  for (int i = 0; i < kBodies; ++i) num_taken += is_taken(any_body()) ? 1 : 0;
  EXPECT_GT(num_taken, kBodies / 20);
  EXPECT_LT(num_taken, kBodies - kBodies / 20);
}

TEST_F(GenerationFuzzTest, AnyTextIsTakenOrRefused) {
  const std::string pieces = "{}[],:\"0123456789.-+eEtrufalsn\\ \n\xff";
  for (int i = 0; i < 3000; ++i) {
    std::string text = any_body().dump();
    for (size_t edits = 1 + below(3); edits > 0; --edits) {
      const size_t at = below(text.size());
      if (below(2) == 0) text.erase(at, 1 + below(6));
      text.insert(std::min(at, text.size()), 1, pieces[below(pieces.size())]);
    }
    json body;
    try {
      body = parse_client_json(text);
    } catch (const HttpError& error) {
      EXPECT_EQ(error.status, 400) << text;
      continue;
    }
    is_taken(body);
  }
}

}  // namespace
}  // namespace ddpm
