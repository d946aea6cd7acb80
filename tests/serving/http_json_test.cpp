#include "ddpm/serving/http/http_json.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "serving/http_status.h"

namespace ddpm {
namespace {

int json_status(const std::string& text) {
  return status_of([&] { parse_client_json(text); });
}

TEST(HttpJsonTest, GivesTheValuesThatWereWritten) {
  const std::string text =
      R"({"model":"m\u00e9\"","n":4,"seed":18446744073709551615,"low":-9223372036854775808,)"
      R"("eta":0.5,"flags":[true,false,null,{}],"empty":[],"one":1.0})";
  const nlohmann::json json = parse_client_json(text);
  EXPECT_EQ(json, nlohmann::json::parse(text));
  EXPECT_TRUE(json["n"].is_number_integer());
  EXPECT_EQ(json["seed"].get<uint64_t>(), 18446744073709551615u);
  EXPECT_TRUE(json["one"].is_number_float());
  EXPECT_EQ(parse_client_json(" 7\n"), 7);
}

TEST(HttpJsonTest, WhatIsNotJsonIsRefused) {
  for (const char* text :
       {"",         " ",       "{",           "[1,]",  "{\"a\":1,}", "{a:1}",
        "'a'",      "01",      "+1",          ".5",    "1.",         "NaN",
        "Infinity", "nul",     "[1] 2",       "{}{}",  "// c\n1",    "/* c */1",
        "\"a\nb\"", "\"\\x\"", "\"\\ud800\"", "1e999", "-1e999",     "\xef\xbb\xbf{}"}) {
    EXPECT_EQ(json_status(text), 400) << text;
  }
}

TEST(HttpJsonTest, NamesGivenTwiceAreRefused) {
  EXPECT_EQ(json_status(R"({"a":1,"a":2})"), 400);
  EXPECT_EQ(json_status(R"({"a":1,"\u0061":2})"), 400);
  EXPECT_EQ(json_status(R"([{"a":1},{"a":{"a":2}}])"), 0);
}

TEST(HttpJsonTest, BadUtf8IsRefused) {
  for (const char* bytes : {"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xe2\x82", "\xf5\x80\x80\x80"}) {
    EXPECT_EQ(json_status("\"" + std::string(bytes) + "\""), 400);
    EXPECT_EQ(json_status("{\"" + std::string(bytes) + "\":1}"), 400);
  }
}

TEST(HttpJsonTest, DepthIsBounded) {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_EQ(json_status(nested(32)), 0);
  EXPECT_EQ(json_status(nested(33)), 400);
  EXPECT_EQ(json_status(std::string(60'000, '[')), 400);
  std::string objects;
  for (int i = 0; i < 5'000; ++i) objects += "{\"a\":";
  EXPECT_EQ(json_status(objects), 400);
}

TEST(HttpJsonTest, LengthAndNumberOfValuesAreBounded) {
  std::string many = "[0";
  for (int i = 1; i < 9'999; ++i) many += ",0";
  EXPECT_EQ(json_status(many + "]"), 0);
  EXPECT_EQ(json_status(many + ",0]"), 400);
  EXPECT_EQ(json_status("\"" + std::string(65'534, 'a') + "\""), 0);
  EXPECT_EQ(json_status("\"" + std::string(65'535, 'a') + "\""), 413);
}

TEST(HttpJsonTest, LongStringsAndNumbersArriveWhole) {
  const std::string text(20'000, 'a');
  EXPECT_EQ(parse_client_json("{\"" + text + "\":\"" + text + "\"}")[text], text);
  EXPECT_TRUE(parse_client_json(std::string(300, '1')).is_number_float());
}

}  // namespace
}  // namespace ddpm
