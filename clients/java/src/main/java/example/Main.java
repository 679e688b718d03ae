package example;

import io.grpc.StatusRuntimeException;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;

/**
 * An example client of the event store and the message queue: generated stubs and grpc-java, nothing
 * else. Each subcommand is one way to use them; what it does it says as lines of JSON.
 */
public final class Main {
  private static final String USAGE =
      """
      usage:
        append TOPIC [TYPE [ID_PREFIX]]   append each line of standard input as an event
        read TOPIC [SUBJECT]              print the events that are there
        subscribe TOPIC [POSITION_FILE]   print events as they come
        consume TOPIC GROUP [CONSUMER]    handle events as a member of a group
        work QUEUE                        answer calls: adds the numbers of a JSON array
        call QUEUE [SECONDS]              call a worker with each line of standard input
      """;

  private Main() {}

  public static void main(String[] args) throws Exception {
    int code = 0;
    try {
      code = run(args);
    } catch (StatusRuntimeException error) {
      Json.say(Map.of("error", Failure.of(error).fields()));
      code = 1;
    }
    System.exit(code);
  }

  private static int run(String[] args) throws Exception {
    if (args.length < 2) {
      return usage();
    }
    String name = args[1];
    switch (args[0]) {
      case "append" -> Events.append(name, argument(args, 2, "line"), argument(args, 3, UUID.randomUUID().toString()));
      case "read" -> Events.read(name, argument(args, 2, ""));
      case "subscribe" -> untilStopped(stop -> Events.subscribe(name, argument(args, 2, ""), stop));
      case "consume" -> untilStopped(stop -> Groups.consume(name, argument(args, 2, "java"), argument(args, 3, "java"), stop));
      case "work" -> untilStopped(stop -> Queues.work(name, stop));
      case "call" -> Queues.call(name, Double.parseDouble(argument(args, 2, "10")));
      default -> {
        return usage();
      }
    }
    return 0;
  }

  private static int usage() {
    System.err.print(USAGE);
    return 2;
  }

  private static String argument(String[] args, int index, String otherwise) {
    return index < args.length ? args[index] : otherwise;
  }

  private interface Work {
    void run(Stop stop) throws Exception;
  }

  /** Runs something that SIGTERM and Ctrl-C end: the JVM waits for the hook, and the hook for the work. */
  private static void untilStopped(Work work) throws Exception {
    Stop stop = new Stop();
    CountDownLatch done = new CountDownLatch(1);
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  if (!stop.stop()) {
                    return;
                  }
                  try {
                    done.await();
                    System.out.flush();
                    // Without this the JVM would end with the signal's number.
                    Runtime.getRuntime().halt(0);
                  } catch (InterruptedException error) {
                    Thread.currentThread().interrupt();
                  }
                }));
    try {
      work.run(stop);
      done.countDown();
      // Only the signal ends it: the hook is about to end the program.
      Thread.currentThread().join();
    } catch (RuntimeException error) {
      stop.failed();
      throw error;
    }
  }
}
