package example;

import com.google.protobuf.Duration;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import stubs.eventstore.v1.ConsumeAck;
import stubs.eventstore.v1.ConsumeNack;
import stubs.eventstore.v1.ConsumeOpen;
import stubs.eventstore.v1.ConsumeRequest;
import stubs.eventstore.v1.ConsumeResponse;
import stubs.eventstore.v1.ConsumerGroupsGrpc;
import stubs.eventstore.v1.CreateGroupRequest;
import stubs.eventstore.v1.Delivery;
import stubs.eventstore.v1.Event;
import stubs.eventstore.v1.NackAction;

/** Consumer groups: take events, ack what is done, nack what failed, and stop without losing any. */
final class Groups {
  private static final int REMEMBERED = 10_000;

  private Groups() {}

  /** An event that will never be handled. */
  private static final class RefusedException extends Exception {
    RefusedException(String message) {
      super(message);
    }
  }

  /** What a consumer is for. Here: two types fail, so that one sees what happens then. */
  private static void handle(Event event, int deliveryCount) throws Exception {
    if (event.getType().equals("poison")) {
      throw new RefusedException("it is of a type that nobody can handle");
    }
    if (event.getType().equals("flaky") && deliveryCount == 1) {
      throw new Exception("it fails the first time");
    }
  }

  /**
   * The sequences of the events that were handled last. An event whose ack was lost is delivered
   * again: a handler has to recognise it. One that writes to a database keeps the ids there, in the
   * same transaction.
   */
  private static Set<Long> remembered() {
    return Collections.newSetFromMap(
        new LinkedHashMap<>() {
          @Override
          protected boolean removeEldestEntry(Map.Entry<Long, Boolean> eldest) {
            return size() > REMEMBERED;
          }
        });
  }

  /** Handles the events of a group until it is told to stop. */
  static void consume(String topic, String group, String consumer, Stop stop) throws Exception {
    ManagedChannel channel = Channels.eventStore();
    // One that exists already, with the same settings, is a success.
    CreateGroupRequest create = CreateGroupRequest.newBuilder().setTopic(topic).setGroup(group).build();
    Channels.retrying(
        group,
        () ->
            ConsumerGroupsGrpc.newBlockingStub(channel)
                .withDeadlineAfter(Channels.DEADLINE_SECONDS, TimeUnit.SECONDS)
                .createGroup(create));
    ConsumeOpen.Builder open =
        ConsumeOpen.newBuilder().setTopic(topic).setGroup(group).setConsumer(consumer).setMaxInFlight(16);
    ConsumeRequest first = ConsumeRequest.newBuilder().setOpen(open).build();
    Set<Long> handled = remembered();
    Channels.Pauses pauses = new Channels.Pauses();
    while (!stop.isSet()) {
      Answers<ConsumeRequest, ConsumeResponse> stream =
          new Answers<>(ConsumerGroupsGrpc.newStub(channel)::consume, first, stop);
      try {
        workOff(stream, handled);
      } catch (StatusRuntimeException error) {
        Failure failure = Failure.of(error);
        if (!failure.isTransient()) {
          throw error;
        }
        // What was not acked comes again, here or at another member of the group.
        Json.say(Json.fields("resuming", group, "reason", failure.name()));
      }
      if (stream.came()) {
        pauses.reset();
      }
      stop.await(pauses.next());
    }
    channel.shutdown();
    Json.say(Json.fields("stopped", true));
  }

  /** Handles what comes; ends with the stream. */
  private static void workOff(Answers<ConsumeRequest, ConsumeResponse> stream, Set<Long> handled)
      throws Exception {
    ConsumeResponse answer;
    while ((answer = stream.next()) != null) {
      switch (answer.getMessageCase()) {
        case DELIVERY -> {
          if (stream.taking()) {
            stream.say(settle(answer.getDelivery(), handled));
          }
        }
        case OUTCOME -> {
          if (answer.getOutcome().hasError()) {
            // Its lease went to somebody else, who handles it now.
            String message = answer.getOutcome().getError().getMessage();
            Json.say(Json.fields("refused", answer.getOutcome().getReceipt(), "message", message));
          }
        }
        default -> {}
      }
    }
  }

  /** Handles an event, and answers what the service is to be told of it. */
  private static ConsumeRequest settle(Delivery delivery, Set<Long> handled) {
    Event event = delivery.getEvent().getEvent();
    long sequence = delivery.getEvent().getSequence();
    ConsumeAck ack = ConsumeAck.newBuilder().addReceipts(delivery.getReceipt()).build();
    if (handled.contains(sequence)) {
      tell("repeated", delivery);
      return ConsumeRequest.newBuilder().setAck(ack).build();
    }
    ConsumeNack.Builder nack = ConsumeNack.newBuilder().addReceipts(delivery.getReceipt());
    try {
      handle(event, delivery.getDeliveryCount());
    } catch (RefusedException error) {
      tell("parked", delivery);
      nack.setAction(NackAction.NACK_ACTION_PARK).setReason(error.getMessage());
      return ConsumeRequest.newBuilder().setNack(nack).build();
    } catch (Exception error) {
      tell("nacked", delivery);
      // Without a delay it would come again after the group's backoff.
      Duration delay = Duration.newBuilder().setNanos(100_000_000).build();
      nack.setAction(NackAction.NACK_ACTION_RETRY).setDelay(delay).setReason(String.valueOf(error.getMessage()));
      return ConsumeRequest.newBuilder().setNack(nack).build();
    }
    handled.add(sequence);
    tell("handled", delivery);
    return ConsumeRequest.newBuilder().setAck(ack).build();
  }

  private static void tell(String what, Delivery delivery) {
    Event event = delivery.getEvent().getEvent();
    Json.say(
        Json.fields(
            what, event.getId(),
            "text", event.getTextData(),
            "sequence", delivery.getEvent().getSequence(),
            "delivery_count", delivery.getDeliveryCount()));
  }
}
