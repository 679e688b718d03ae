package example;

import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.StatusRuntimeException;
import java.nio.file.Path;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/** Channels, and which calls are made again. */
final class Channels {
  /** A call gets so long; a retry is another call. */
  static final long DEADLINE_SECONDS = 10;

  /** So long is a write tried again before its error is final. */
  static final long PATIENCE_SECONDS = 60;

  private Channels() {}

  static ManagedChannel eventStore() {
    return channel("EVENT_STORE", "localhost:50051");
  }

  static ManagedChannel messageQueue() {
    return channel("MESSAGE_QUEUE", "localhost:50052");
  }

  private static ManagedChannel channel(String variable, String otherwise) {
    String address = System.getenv().getOrDefault(variable, otherwise);
    return ManagedChannelBuilder.forTarget(address)
        .usePlaintext()
        .defaultServiceConfig(Json.read(Path.of(System.getenv("SERVICE_CONFIG"))))
        .enableRetry()
        // Finds out within 40 s that a connection is dead, also while it is quiet.
        .keepAliveTime(30, TimeUnit.SECONDS)
        .keepAliveTimeout(10, TimeUnit.SECONDS)
        // Events may be as large as the service is configured to take; the default is 4 MiB.
        .maxInboundMessageSize(20 * 1024 * 1024)
        .build();
  }

  /** The pauses between tries: 100 ms, twice that, and so on up to 2 s, each with jitter. */
  static final class Pauses {
    private long next = 100;

    void reset() {
      next = 100;
    }

    long next() {
      long now = (long) (next * ThreadLocalRandom.current().nextDouble(0.8, 1.2));
      next = Math.min(next * 2, 2_000);
      return now;
    }
  }

  /** Makes a call that may be made twice, until it succeeds or fails for good. */
  static <T> T retrying(String what, Supplier<T> call) throws InterruptedException {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS);
    Pauses pauses = new Pauses();
    while (true) {
      try {
        return call.get();
      } catch (StatusRuntimeException error) {
        Failure failure = Failure.of(error);
        if (!failure.isTransient() || System.nanoTime() > end) {
          throw error;
        }
        Json.say(Json.fields("retrying", what, "reason", failure.name()));
        Thread.sleep(failure.retryAfterMillis() + pauses.next());
      }
    }
  }
}
