package example;

import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** The signal to stop, as the parts of the program see it. */
final class Stop {
  private final CountDownLatch signalled = new CountDownLatch(1);
  private final CopyOnWriteArrayList<Runnable> listeners = new CopyOnWriteArrayList<>();
  private volatile boolean failed;

  /** Tells everybody; answers whether there is still work to wait for. */
  boolean stop() {
    signalled.countDown();
    listeners.forEach(Runnable::run);
    return !failed;
  }

  /** The work ended with an error by itself. */
  void failed() {
    failed = true;
  }

  boolean isSet() {
    return signalled.getCount() == 0;
  }

  /** Runs the listener when stopped, also if that was before. The answer takes it away again. */
  AutoCloseable onStop(Runnable listener) {
    listeners.add(listener);
    if (isSet()) {
      listener.run();
    }
    return () -> listeners.remove(listener);
  }

  /** Waits, but not beyond the signal. */
  void await(long millis) throws InterruptedException {
    signalled.await(millis, TimeUnit.MILLISECONDS);
  }
}
