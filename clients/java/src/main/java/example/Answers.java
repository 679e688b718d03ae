package example;

import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import io.grpc.stub.StreamObserver;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.function.Function;

/**
 * A stream in both directions, read one by one: what the service says waits here until it is asked
 * for, and the signal to stop comes in between.
 */
final class Answers<Q, A> {
  /** One thing that was heard: an answer, the end (with an error, or null), or the signal to stop. */
  private record Heard<A>(A answer, boolean ended, Throwable error) {}

  private final LinkedBlockingQueue<Heard<A>> heard = new LinkedBlockingQueue<>();
  private final StreamObserver<Q> requests;
  private final Stop stop;
  private boolean closed;
  private boolean anything;

  /** Opens a stream with its first request. */
  Answers(Function<StreamObserver<A>, StreamObserver<Q>> open, Q first, Stop stop) {
    this.stop = stop;
    requests =
        open.apply(
            new ClientResponseObserver<Q, A>() {
              @Override
              public void beforeStart(ClientCallStreamObserver<Q> stream) {}

              @Override
              public void onNext(A answer) {
                heard.add(new Heard<>(answer, false, null));
              }

              @Override
              public void onError(Throwable error) {
                heard.add(new Heard<>(null, true, error));
              }

              @Override
              public void onCompleted() {
                heard.add(new Heard<>(null, true, null));
              }
            });
    requests.onNext(first);
  }

  /** The next answer, or null when the stream has ended well. Throws its error otherwise. */
  A next() throws Exception {
    try (AutoCloseable listening = stop.onStop(() -> heard.add(new Heard<>(null, false, null)))) {
      while (true) {
        if (stop.isSet() && !closed) {
          // Ends the deliveries. Outcomes still come, then the stream ends, and what was delivered
          // but not begun goes to others at once.
          closed = true;
          requests.onCompleted();
        }
        Heard<A> next = heard.take();
        if (next.error() != null) {
          throw io.grpc.Status.fromThrowable(next.error())
              .asRuntimeException(io.grpc.Status.trailersFromThrowable(next.error()));
        }
        if (next.ended()) {
          return null;
        }
        if (next.answer() != null) {
          anything = true;
          return next.answer();
        }
      }
    }
  }

  /** Says something; lost if the stream has ended, which {@link #next} tells. */
  void say(Q request) {
    if (!closed) {
      requests.onNext(request);
    }
  }

  /** Whether deliveries are still wanted. */
  boolean taking() {
    return !closed && !stop.isSet();
  }

  /** Whether anything came. */
  boolean came() {
    return anything;
  }
}
