// Threads that work on one function together, and meet without sleeping.
#pragma once

#include <immintrin.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

class Team {
   public:
    explicit Team(int most) : most_(most), size_(most) {
        for (int thread = 1; thread < most; ++thread) workers_.emplace_back([this, thread] { serve(thread); });
    }

    ~Team() {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            ended_.store(true);
            call_.fetch_add(ONE_CALL);
        }
        wake_.notify_all();
        for (auto& worker : workers_) worker.join();
    }

    // How many work on what is running.
    int size() const { return size_; }

    // Call work(thread) in `size` threads of the team, the caller's too, and return when all have.
    void run(int size, const std::function<void(int)>& work) {
        size_ = std::max(1, std::min(size, most_));
        if (size_ == 1) return work(0);
        work_ = &work;
        running_.store(size_ - 1, std::memory_order_relaxed);
        {
            std::lock_guard<std::mutex> lock(mutex_);
            const uint64_t number = call_.load(std::memory_order_relaxed) / ONE_CALL + 1;
            call_.store(number * ONE_CALL + size_, std::memory_order_release);
        }
        wake_.notify_all();
        work(0);
        spin([this] { return running_.load(std::memory_order_acquire) == 0; });
    }

    // Wait until every thread of the team is here.
    void meet() {
        if (size_ == 1) {
            next_.store(0, std::memory_order_relaxed);
            return;
        }
        const uint64_t round = round_.load(std::memory_order_acquire);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) == size_ - 1) {
            arrived_.store(0, std::memory_order_relaxed);
            next_.store(0, std::memory_order_relaxed);
            round_.store(round + 1, std::memory_order_release);
        } else {
            spin([this, round] { return round_.load(std::memory_order_acquire) != round; });
        }
    }

    // The next `count` of the units that are dealt out since the team last met.
    int64_t take(int64_t count) { return next_.fetch_add(count, std::memory_order_relaxed); }

   private:
    // The number of a call in the high bits of a word, how many threads it needs in the low ones: a thread that comes
    // late must not take the size of one call for that of another.
    static constexpr uint64_t ONE_CALL = 1 << 16;
    static constexpr int kSpinsBeforeYield = 1'000;
    static constexpr int kYieldsBeforeSleep = 2'000;

    template <typename Done>
    static void spin(Done done) {
        for (int spins = 0; !done(); ++spins) {
            if (spins < kSpinsBeforeYield) {
                _mm_pause();
            } else {
                sched_yield();
            }
        }
    }

    void serve(int thread) {
        uint64_t seen = 0;
        while (true) {
            int yields = 0;
            for (int spins = 0; call_.load(std::memory_order_acquire) == seen; ++spins) {
                if (spins < kSpinsBeforeYield) {
                    _mm_pause();
                } else if (++yields < kYieldsBeforeSleep) {
                    sched_yield();
                } else {
                    std::unique_lock<std::mutex> lock(mutex_);
                    wake_.wait(lock, [this, seen] { return call_.load(std::memory_order_acquire) != seen; });
                }
            }
            seen = call_.load(std::memory_order_acquire);
            if (ended_.load()) return;
            if (thread >= static_cast<int>(seen % ONE_CALL)) continue;
            (*work_)(thread);
            running_.fetch_sub(1, std::memory_order_release);
        }
    }

    const int most_;
    int size_;
    std::vector<std::thread> workers_;
    std::mutex mutex_;
    std::condition_variable wake_;
    const std::function<void(int)>* work_ = nullptr;
    alignas(64) std::atomic<uint64_t> call_{0};
    alignas(64) std::atomic<int> running_{0};
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<uint64_t> round_{0};
    alignas(64) std::atomic<int64_t> next_{0};
    std::atomic<bool> ended_{false};
};
