#include "ddpm/serving/http/http_stream.h"

#include <gtest/gtest.h>

#include <thread>

namespace ddpm {
namespace {

TEST(HttpStreamTest, GivesWhatWasWrittenInOrder) {
  HttpStream stream;
  int notified = 0;
  stream.attach([&] { ++notified; });
  EXPECT_TRUE(stream.write("ab"));
  EXPECT_TRUE(stream.write("cd"));
  EXPECT_EQ(stream.take(100), "abcd");
  EXPECT_EQ(stream.take(100), "");
  EXPECT_FALSE(stream.is_finished());
  stream.write("e");
  stream.close();
  EXPECT_FALSE(stream.is_open());
  EXPECT_FALSE(stream.write("f"));
  EXPECT_FALSE(stream.is_finished());
  EXPECT_EQ(stream.take(1), "e");
  EXPECT_TRUE(stream.is_finished());
  EXPECT_EQ(notified, 4);
}

TEST(HttpStreamTest, TakesWholePiecesUpToALength) {
  HttpStream stream;
  stream.write("abc");
  stream.write("de");
  stream.write("f");
  EXPECT_EQ(stream.take(5), "abcde");
  EXPECT_EQ(stream.take(0), "f");
}

TEST(HttpStreamTest, OnlyTheLatestOfASlotIsKept) {
  HttpStream stream(10);
  stream.write_latest("progress", "p1");
  stream.write("state");
  for (int i = 0; i < 100; ++i)
    EXPECT_TRUE(stream.write_latest("progress", "p" + std::to_string(i)));
  stream.write_latest("preview", "v");
  EXPECT_EQ(stream.take(100), "statep99v");
}

TEST(HttpStreamTest, AReaderWhoLetsTheQueueFillIsDropped) {
  HttpStream stream(10);
  EXPECT_TRUE(stream.write("0123456789"));
  EXPECT_FALSE(stream.is_dropped());
  stream.write("x");
  EXPECT_TRUE(stream.is_dropped());
  EXPECT_FALSE(stream.is_open());
  EXPECT_FALSE(stream.is_finished());
  EXPECT_FALSE(stream.write("y"));
  EXPECT_EQ(stream.take(100), "");
}

TEST(HttpStreamTest, TellsTheWriterThatTheReaderLeft) {
  HttpStream stream, closed;
  int calls = 0;
  stream.on_gone([&] { ++calls; });
  closed.on_gone([&] { ++calls; });
  closed.close();
  closed.reader_left();
  EXPECT_EQ(calls, 0);
  stream.reader_left();
  stream.reader_left();
  EXPECT_EQ(calls, 1);
  EXPECT_FALSE(stream.write("a"));
  stream.on_gone([&] { ++calls; });
  EXPECT_EQ(calls, 2);
}

TEST(HttpStreamTest, ManyThreadsMayWrite) {
  HttpStream stream(1 << 20);
  std::vector<std::thread> writers;
  for (int i = 0; i < 4; ++i) {
    writers.emplace_back([&] {
      for (int k = 0; k < 1000; ++k) stream.write("ab");
    });
  }
  size_t taken = 0;
  while (taken < 8000) taken += stream.take(100).size();
  for (auto& writer : writers) writer.join();
  EXPECT_EQ(taken, 8000u);
}

TEST(HttpStreamTest, EventsHaveALineForEachLineOfData) {
  EXPECT_EQ(sse_event("progress", "{}", "7"), "id: 7\nevent: progress\ndata: {}\n\n");
  EXPECT_EQ(sse_event("", "a\r\nb\n"), "data: a\ndata: b\ndata: \n\n");
  EXPECT_THROW(sse_event("a\nb", ""), std::invalid_argument);
  EXPECT_THROW(sse_event("a", "", "1\r"), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
