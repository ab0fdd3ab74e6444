// Threads that work on one function together, and meet without sleeping.
#pragma once

#include <immintrin.h>
#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

class Team {
   public:
    explicit Team(int num_threads) : num_threads_(num_threads) {
        for (int thread = 1; thread < num_threads_; ++thread) workers_.emplace_back([this, thread] { serve(thread); });
    }

    ~Team() {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            ended_.store(true);
            call_.fetch_add(1);
        }
        wake_.notify_all();
        for (auto& worker : workers_) worker.join();
    }

    int size() const { return num_threads_; }

    // Call work(thread) in every thread of the team, the caller's too, and return when all have.
    void run(const std::function<void(int)>& work) {
        if (num_threads_ == 1) return work(0);
        work_ = &work;
        running_.store(num_threads_ - 1, std::memory_order_relaxed);
        {
            std::lock_guard<std::mutex> lock(mutex_);
            call_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        work(0);
        spin([this] { return running_.load(std::memory_order_acquire) == 0; });
    }

    // Wait until every thread of the team is here.
    void meet() {
        if (num_threads_ == 1) {
            next_.store(0, std::memory_order_relaxed);
            return;
        }
        const uint64_t round = round_.load(std::memory_order_acquire);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) == num_threads_ - 1) {
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
            (*work_)(thread);
            running_.fetch_sub(1, std::memory_order_release);
        }
    }

    const int num_threads_;
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
