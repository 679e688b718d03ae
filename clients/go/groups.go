package main

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	pb "shop.example/stubs/eventstore/v1"
)

// errRefused is for an event that will never be handled.
var errRefused = errors.New("it is of a type that nobody can handle")

// handle is what a consumer is for. Here: two types fail, so that one sees what happens then.
func handle(event *pb.Event, deliveryCount uint32) error {
	switch {
	case event.GetType() == "poison":
		return errRefused
	case event.GetType() == "flaky" && deliveryCount == 1:
		return errors.New("it fails the first time")
	}
	return nil
}

// handled knows the events that were handled last. An event whose ack was lost is delivered again:
// a handler has to recognise it. One that writes to a database keeps the ids there, in the same
// transaction.
type handled struct {
	sequences map[uint64]bool
	order     []uint64
}

const handledLimit = 10_000

func (h *handled) add(sequence uint64) {
	h.sequences[sequence] = true
	h.order = append(h.order, sequence)
	if len(h.order) > handledLimit {
		delete(h.sequences, h.order[0])
		h.order = h.order[1:]
	}
}

// consume handles the events of a group until it is told to stop.
func consume(ctx context.Context, topic, group, consumer string) error {
	conn, err := dialEventStore()
	if err != nil {
		return err
	}
	defer conn.Close()
	groups := pb.NewConsumerGroupsClient(conn)
	// One that exists already, with the same settings, is a success.
	err = retrying(ctx, group, deadline, func(ctx context.Context) error {
		_, err := groups.CreateGroup(ctx, &pb.CreateGroupRequest{Topic: topic, Group: group})
		return err
	})
	if err != nil {
		return err
	}
	open := &pb.ConsumeOpen{Topic: topic, Group: group, Consumer: consumer, MaxInFlight: proto.Uint32(16)}
	done := &handled{sequences: map[uint64]bool{}}
	var waits pauses
	for ctx.Err() == nil {
		came, err := workOff(ctx, groups, open, done)
		if err != nil {
			told := failureOf(err)
			if !told.isTransient() {
				return err
			}
			// What was not acked comes again, here or at another member of the group.
			say(fields{"resuming": group, "reason": told.name()})
		}
		if came {
			waits = pauses{}
		}
		waits.wait(ctx, 0)
	}
	say(fields{"stopped": true})
	return nil
}

// workOff handles what comes; it ends with the stream, and tells whether anything came.
func workOff(ctx context.Context, groups pb.ConsumerGroupsClient, open *pb.ConsumeOpen, done *handled) (came bool, err error) {
	// The stream outlives the signal to stop: it is ended by half-closing it.
	lasting, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := groups.Consume(lasting)
	if err != nil {
		return false, err
	}
	answers := receive(lasting, stream.Recv)
	// A send that fails does not say why: the end of the stream does, which comes next.
	_ = stream.Send(&pb.ConsumeRequest{Message: &pb.ConsumeRequest_Open{Open: open}})
	stopping := ctx.Done()
	for {
		// A delivery that is there already does not go before the signal to stop.
		if ctx.Err() != nil && stopping != nil {
			// Ends the deliveries. Outcomes still come, then the stream ends, and what was
			// delivered but not begun goes to others at once.
			stopping = nil
			_ = stream.CloseSend()
		}
		select {
		case <-stopping:
		case answer := <-answers:
			if ended(answer.err) {
				return came, nil
			}
			if answer.err != nil {
				return came, answer.err
			}
			came = true
			switch is := answer.value.GetMessage().(type) {
			case *pb.ConsumeResponse_Delivery:
				if stopping != nil {
					_ = stream.Send(settle(is.Delivery, done))
				}
			case *pb.ConsumeResponse_Outcome:
				if refused := is.Outcome.GetError(); refused != nil {
					// Its lease went to somebody else, who handles it now.
					say(fields{"refused": is.Outcome.GetReceipt(), "message": refused.GetMessage()})
				}
			}
		}
	}
}

type received[T any] struct {
	value T
	err   error
}

// receive reads a stream into a channel, so that one can wait for something else as well.
func receive[T any](ctx context.Context, next func() (T, error)) <-chan received[T] {
	answers := make(chan received[T])
	go func() {
		for {
			value, err := next()
			select {
			case answers <- received[T]{value, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return answers
}

// settle handles an event, and answers what the service is to be told of it.
func settle(delivery *pb.Delivery, done *handled) *pb.ConsumeRequest {
	event, receipts := delivery.GetEvent().GetEvent(), []string{delivery.GetReceipt()}
	sequence, count := delivery.GetEvent().GetSequence(), delivery.GetDeliveryCount()
	ack := &pb.ConsumeRequest{Message: &pb.ConsumeRequest_Ack{Ack: &pb.ConsumeAck{Receipts: receipts}}}
	tell := func(what string) {
		say(fields{what: event.GetId(), "text": event.GetTextData(), "sequence": sequence, "delivery_count": count})
	}
	if done.sequences[sequence] {
		tell("repeated")
		return ack
	}
	err := handle(event, count)
	if err == nil {
		done.add(sequence)
		tell("handled")
		return ack
	}
	nack := &pb.ConsumeNack{Receipts: receipts, Reason: err.Error()}
	if errors.Is(err, errRefused) {
		tell("parked")
		nack.Action = pb.NackAction_NACK_ACTION_PARK
	} else {
		tell("nacked")
		nack.Action = pb.NackAction_NACK_ACTION_RETRY
		// Without a delay it would come again after the group's backoff.
		nack.Delay = durationpb.New(100 * time.Millisecond)
	}
	return &pb.ConsumeRequest{Message: &pb.ConsumeRequest_Nack{Nack: nack}}
}
