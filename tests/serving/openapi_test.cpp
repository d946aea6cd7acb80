#include "ddpm/serving/api/openapi.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>
#include <vector>

#include "ddpm/serving/api/all_routes.h"
#include "serving/test_service.h"

namespace ddpm {
namespace {

using nlohmann::json;
using testing::eventually;
using testing::FakeCalls;
using testing::TestServer;
using testing::TestService;

/// What a value breaks of a schema, as far as the document's schemas say anything: types, members,
/// words, ranges. Empty: nothing.
class SchemaChecker {
 public:
  explicit SchemaChecker(const json& schemas) : schemas_(schemas) {}

  std::string problem(const json& schema, const json& value, const std::string& place) const {
    if (schema.contains("$ref")) {
      const std::string name = schema.at("$ref").get<std::string>().substr(kPrefix.size());
      return problem(schemas_.at(name), value, place);
    }
    if (schema.contains("anyOf")) {
      for (const json& choice : schema.at("anyOf")) {
        if (problem(choice, value, place).empty()) return "";
      }
      return place + ": none of the choices";
    }
    if (schema.contains("const") && schema.at("const") != value)
      return place + ": another constant";
    if (schema.contains("type") && !has_type(schema.at("type"), value)) return place + ": type";
    if (schema.contains("enum") && !contains(schema.at("enum"), value)) return place + ": word";
    if (value.is_number()) return number_problem(schema, value, place);
    if (value.is_object()) return object_problem(schema, value, place);
    if (value.is_array() && schema.contains("items")) return list_problem(schema, value, place);
    return "";
  }

 private:
  static constexpr std::string_view kPrefix = "#/components/schemas/";

  static bool contains(const json& list, const json& value) {
    return std::find(list.begin(), list.end(), value) != list.end();
  }
  static bool is_of(const std::string& type, const json& value) {
    if (type == "null") return value.is_null();
    if (type == "string") return value.is_string();
    if (type == "boolean") return value.is_boolean();
    if (type == "integer") return value.is_number_integer();
    if (type == "number") return value.is_number();
    if (type == "array") return value.is_array();
    return type == "object" && value.is_object();
  }
  static bool has_type(const json& type, const json& value) {
    if (type.is_string()) return is_of(type, value);
    return std::any_of(type.begin(), type.end(),
                       [&](const json& each) { return is_of(each, value); });
  }
  static std::string number_problem(const json& schema, const json& value,
                                    const std::string& place) {
    const bool is_low = schema.contains("minimum") && value < schema.at("minimum");
    const bool is_high = schema.contains("maximum") && value > schema.at("maximum");
    return is_low || is_high ? place + ": range" : "";
  }
  std::string object_problem(const json& schema, const json& value,
                             const std::string& place) const {
    const json required = schema.value("required", json::array());
    const json properties = schema.value("properties", json::object());
    for (const json& name : required) {
      if (!value.contains(name)) return place + "." + name.get<std::string>() + ": missing";
    }
    for (const auto& [name, member] : value.items()) {
      const std::string at = place + "." + name;
      const bool is_known = properties.contains(name);
      if (!is_known && !properties.empty()) return at + ": not described";
      const std::string found = is_known ? problem(properties.at(name), member, at) : "";
      if (!found.empty()) return found;
    }
    return "";
  }
  std::string list_problem(const json& schema, const json& value, const std::string& place) const {
    for (const json& each : value) {
      const std::string found = problem(schema.at("items"), each, place + "[]");
      if (!found.empty()) return found;
    }
    return "";
  }

  const json& schemas_;
};

class OpenApiTest : public ::testing::Test {
 protected:
  json get_json(const std::string& target) { return json::parse(server_.get(target).body); }
  RawResponse post(const std::string& target, const json& body) {
    const std::string text = body.dump();
    return server_.ask("POST " + target + " HTTP/1.1\r\nHost: localhost\r\n" +
                       TestServer::key_field() + "Content-Type: application/json\r\n" +
                       "Content-Length: " + std::to_string(text.size()) + "\r\n\r\n" + text);
  }
  std::string problem(const char* schema, const json& value) {
    const json& schemas = document_.at("components").at("schemas");
    return SchemaChecker(schemas).problem(schemas.at(schema), value, schema);
  }

  std::shared_ptr<FakeCalls> calls_ = std::make_shared<FakeCalls>();
  TestService test_{calls_};
  TestServer server_{all_routes(test_.service), test_.metrics};
  json document_ = json::parse(server_.get("/openapi.json", /*with_key=*/false).body);
};

TEST_F(OpenApiTest, EveryRouteOfTheNativeApiIsDescribed) {
  EXPECT_EQ(document_.at("openapi"), "3.1.0");
  const HttpRouter router = all_routes(test_.service);
  int num_described = 0;
  for (const HttpRoute& route : router.routes()) {
    if (!route.pattern.starts_with("/v1/")) continue;
    std::string method(http_method_name(route.method));
    for (char& letter : method) letter = static_cast<char>(letter | 0x20);
    const json& described = document_.at("paths").at(route.pattern).at(method);
    EXPECT_FALSE(described.at("summary").get<std::string>().empty());
    EXPECT_EQ(described.contains("security"), route.access == HttpAccess::kPublic);
    ++num_described;
  }
  EXPECT_GE(num_described, 12);
}

TEST_F(OpenApiTest, EveryReferenceLeadsSomewhere) {
  const std::string text = document_.dump();
  const std::string begin = "\"#/components/schemas/";
  int num_references = 0;
  for (size_t at = text.find(begin); at != text.npos; at = text.find(begin, at + 1)) {
    const size_t name = at + begin.size();
    EXPECT_TRUE(document_.at("components")
                    .at("schemas")
                    .contains(text.substr(name, text.find('"', name) - name)));
    ++num_references;
  }
  EXPECT_GT(num_references, 20);
}

TEST_F(OpenApiTest, AnswersAreAsTheDocumentSays) {
  EXPECT_EQ(problem("Models", get_json("/v1/models")), "");
  EXPECT_EQ(problem("Model", get_json("/v1/models/fake")), "");
  EXPECT_EQ(problem("Capabilities", get_json("/v1/capabilities")), "");
  EXPECT_EQ(problem("Error", get_json("/v1/models/other")), "");
  const json body{{"model", "fake"}, {"num_images", 2}, {"sampler", {{"steps", 3}}}};
  const json job = json::parse(post("/v1/jobs", body).body);
  EXPECT_EQ(problem("Job", job), "");
  json done;
  EXPECT_TRUE(eventually([&] {
    done = get_json("/v1/jobs/" + job.at("id").get<std::string>());
    return done.at("state") == "succeeded";
  }));
  EXPECT_EQ(problem("Job", done), "");
  EXPECT_EQ(problem("Jobs", get_json("/v1/jobs")), "");
  EXPECT_EQ(problem("Images", json::parse(post("/v1/generate", body).body)), "");
}

TEST_F(OpenApiTest, TheServerTakesWhatTheSchemaAllowsOfSingleOptions) {
  const json& schemas = document_.at("components").at("schemas");
  const json& options = schemas.at("SamplerOptions").at("properties");
  for (const auto& [name, schema] : options.items()) {
    std::vector<json> values = schema.value("enum", std::vector<json>());
    for (const char* end : {"minimum", "maximum", "default"}) {
      if (schema.contains(end)) values.push_back(schema.at(end));
    }
    for (const json& value : values) {
      const json body{{"model", "fake"}, {"sampler", {{"kind", "ddim"}, {"steps", 4}}}};
      json asked = body;
      asked["sampler"][name] = value;
      const std::string found = problem("Generation", asked);
      const RawResponse answer = post("/v1/jobs", asked);
      EXPECT_EQ(found, "") << asked;
      // A list of levels may still contradict the schedule: refused as "sampler", not as a range.
      const bool is_taken = answer.status == 202;
      const bool contradicts =
          answer.status == 422 && answer.body.find("\"sampler\"") != answer.body.npos;
      EXPECT_TRUE(is_taken || contradicts) << asked << answer.body;
    }
    if (!schema.contains("minimum")) continue;
    json below{{"model", "fake"}, {"sampler", json::object()}};
    below["sampler"][name] = schema.at("minimum").get<double>() - 1;
    EXPECT_NE(problem("Generation", below), "") << name;
    EXPECT_EQ(post("/v1/jobs", below).status, 422) << name;
  }
}

}  // namespace
}  // namespace ddpm
