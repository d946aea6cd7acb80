#include "ddpm/serving/http/http_responder.h"

#include <gtest/gtest.h>

namespace ddpm {
namespace {

struct Answers {
  std::vector<int> statuses;
  std::shared_ptr<HttpExchange> exchange = std::make_shared<HttpExchange>(
      [this](const HttpResponse& response) { statuses.push_back(response.status); });
};

TEST(HttpResponderTest, OnlyTheFirstAnswerCounts) {
  Answers answers;
  const HttpResponder responder(answers.exchange);
  responder.send(json_response(201, "{}"));
  responder.send(json_response(202, "{}"));
  answers.exchange.reset();
  EXPECT_EQ(answers.statuses, std::vector<int>{201});
}

TEST(HttpResponderTest, WithoutAnAnswerTheClientIsToldSo) {
  Answers answers;
  std::optional<HttpResponder> first(answers.exchange), second(first);
  answers.exchange.reset();
  first.reset();
  EXPECT_TRUE(answers.statuses.empty());
  second.reset();
  EXPECT_EQ(answers.statuses, std::vector<int>{500});
}

TEST(HttpResponderTest, CallsBackOnceWhenTheClientLeaves) {
  Answers answers;
  const HttpResponder responder(answers.exchange);
  int calls = 0;
  responder.on_gone([&] { ++calls; });
  EXPECT_FALSE(responder.is_gone());
  answers.exchange->client_left();
  answers.exchange->client_left();
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(responder.is_gone());
  responder.on_gone([&] { ++calls; });
  EXPECT_EQ(calls, 2);
}

TEST(HttpResponderTest, AfterTheAnswerNobodyIsCalledBack) {
  Answers answers;
  const HttpResponder responder(answers.exchange);
  int calls = 0;
  responder.on_gone([&] { ++calls; });
  responder.send({});
  responder.on_gone([&] { ++calls; });
  answers.exchange->client_left();
  EXPECT_EQ(calls, 0);
}

}  // namespace
}  // namespace ddpm
