package example;

import com.google.protobuf.Empty;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Iterator;
import java.util.concurrent.TimeUnit;
import stubs.eventstore.v1.AppendRequest;
import stubs.eventstore.v1.AppendResponse;
import stubs.eventstore.v1.Event;
import stubs.eventstore.v1.EventStoreGrpc;
import stubs.eventstore.v1.EventStoreGrpc.EventStoreBlockingStub;
import stubs.eventstore.v1.ReadRequest;
import stubs.eventstore.v1.RecordedEvent;
import stubs.eventstore.v1.Start;
import stubs.eventstore.v1.SubscribeRequest;
import stubs.eventstore.v1.SubscribeResponse;
import stubs.eventstore.v1.TopicProgress;
import stubs.eventstore.v1.TopicStart;

/** The event store: append safely, read, and subscribe where one was. */
final class Events {
  private Events() {}

  /**
   * Appends each line of standard input as an event. Ids are chosen before the first try, so each
   * retry is stored once. With the same prefix even running the program again is a retry.
   */
  static void append(String topic, String type, String prefix) throws Exception {
    ManagedChannel channel = Channels.eventStore();
    EventStoreBlockingStub store = EventStoreGrpc.newBlockingStub(channel);
    BufferedReader input = standardInput();
    String line;
    for (int number = 1; (line = input.readLine()) != null; number++) {
      String id = prefix + "-" + number;
      Event event =
          Event.newBuilder().setId(id).setType(type).setSource("java").setSubject(prefix).setTextData(line).build();
      AppendRequest request = AppendRequest.newBuilder().setTopic(topic).addEvents(event).build();
      AppendResponse answer =
          Channels.retrying(
              id, () -> store.withDeadlineAfter(Channels.DEADLINE_SECONDS, TimeUnit.SECONDS).append(request));
      Json.say(
          Json.fields(
              "appended", id,
              "sequence", answer.getFirstSequence(),
              "position", answer.getLastPosition(),
              "deduplicated", answer.getDeduplicated(),
              // UNRECOGNIZED, if a newer service answers with a value that these stubs do not know.
              "durability", answer.getDurability().toString()));
    }
    channel.shutdown();
  }

  static BufferedReader standardInput() {
    return new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
  }

  /** Prints the events that are there: of a topic, or of one of its subjects. */
  static void read(String topic, String subject) {
    ManagedChannel channel = Channels.eventStore();
    ReadRequest.Builder request = ReadRequest.newBuilder().setTopic(topic);
    if (!subject.isEmpty()) {
      request.setSubject(subject);
    }
    EventStoreGrpc.newBlockingStub(channel)
        .withDeadlineAfter(Channels.PATIENCE_SECONDS, TimeUnit.SECONDS)
        .read(request.build())
        .forEachRemaining(answer -> show(answer.getEvent()));
    channel.shutdown();
  }

  private static void show(RecordedEvent recorded) {
    Event event = recorded.getEvent();
    Json.say(
        Json.fields(
            "sequence", recorded.getSequence(),
            "position", recorded.getPosition(),
            "id", event.getId(),
            "type", event.getType(),
            "text", event.getTextData()));
  }

  /**
   * The position of the last event that was handled, kept in a file. Kept in the same transaction as
   * what a handler writes, it makes each event count exactly once.
   */
  private static final class Progress {
    private final Path file;
    private String position = "";

    Progress(String file) throws IOException {
      this.file = file.isEmpty() ? null : Path.of(file);
      if (this.file != null && Files.exists(this.file)) {
        position = Files.readString(this.file).strip();
      }
    }

    void move(String to) {
      position = to;
      if (file == null) {
        return;
      }
      try {
        Path beside = Files.writeString(Path.of(file + ".new"), to);
        Files.move(beside, file, StandardCopyOption.ATOMIC_MOVE);
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }

    Start start() {
      return position.isEmpty()
          ? Start.newBuilder().setBeginning(Empty.getDefaultInstance()).build()
          : Start.newBuilder().setAfterPosition(position).build();
    }
  }

  /** Prints events as they come, and goes on where it was whenever the stream breaks. */
  static void subscribe(String topic, String file, Stop stop) throws Exception {
    Progress progress = new Progress(file);
    ManagedChannel channel = Channels.eventStore();
    EventStoreBlockingStub store = EventStoreGrpc.newBlockingStub(channel);
    Channels.Pauses pauses = new Channels.Pauses();
    while (!stop.isSet()) {
      String before = progress.position;
      try {
        follow(store, topic, progress, stop);
      } catch (StatusRuntimeException error) {
        Failure failure = Failure.of(error);
        if (stop.isSet()) {
          break;
        }
        if ("POSITION_TRIMMED".equals(failure.reason()) || "POSITION_BEYOND_HEAD".equals(failure.reason())) {
          // Trimmed: events were missed, retention has removed them. Beyond the head: the topic lost
          // its end, and what stands there now may be new. In both cases what was built from the
          // events is to be built again, from what there is.
          Json.say(Json.fields("starting_over", failure.reason(), "metadata", failure.metadata()));
          progress.move("");
        } else if (failure.isTransient()) {
          Json.say(Json.fields("resuming", progress.position, "reason", failure.name()));
        } else {
          throw error;
        }
      }
      if (!progress.position.equals(before)) {
        pauses.reset();
      }
      stop.await(pauses.next());
    }
    channel.shutdown();
    Json.say(Json.fields("stopped", true));
  }

  private static void follow(EventStoreBlockingStub store, String topic, Progress progress, Stop stop)
      throws Exception {
    TopicStart start = TopicStart.newBuilder().setTopic(topic).setStart(progress.start()).build();
    SubscribeRequest request = SubscribeRequest.newBuilder().addTopics(start).build();
    // No deadline: it lasts. Keepalive tells when nobody is there any more.
    Context.CancellableContext context = Context.current().withCancellation();
    try (AutoCloseable listening = stop.onStop(() -> context.cancel(null))) {
      context.call(
          () -> {
            Iterator<SubscribeResponse> stream = store.subscribe(request);
            while (stream.hasNext()) {
              take(stream.next(), progress);
            }
            return null;
          });
    } finally {
      context.cancel(null);
    }
  }

  private static void take(SubscribeResponse answer, Progress progress) {
    switch (answer.getMessageCase()) {
      case EVENT -> {
        show(answer.getEvent());
        progress.move(answer.getEvent().getPosition());
      }
      case CAUGHT_UP -> Json.say(Json.fields("caught_up", answer.getCaughtUp().getTopic()));
      case HEARTBEAT -> {
        TopicProgress here = answer.getHeartbeat().getTopics(0);
        if (here.hasPosition()) {
          progress.move(here.getPosition());
        }
      }
      // FELL_BEHIND, and MESSAGE_NOT_SET: a kind of message that these stubs do not know yet.
      default -> {}
    }
  }
}
