package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	pb "shop.example/stubs/messagequeue/v1"
)

// answerTo is what the worker is for: it adds numbers. What it can't do, it says to the caller.
func answerTo(message *pb.Message) *pb.ReplyContent {
	var numbers []float64
	var err error
	if message.GetType() == "add" {
		err = json.Unmarshal([]byte(message.GetTextBody()), &numbers)
	} else {
		err = fmt.Errorf("there is nothing to do for %s", message.GetType())
	}
	if err != nil {
		refusal := &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: err.Error()}
		return &pb.ReplyContent{Result: &pb.ReplyContent_Error{Error: refusal}}
	}
	sum := 0.0
	for _, number := range numbers {
		sum += number
	}
	return &pb.ReplyContent{Result: &pb.ReplyContent_Body{Body: &pb.ReplyBody{
		ContentType: proto.String("application/json"),
		Body:        &pb.ReplyBody_TextBody{TextBody: fmt.Sprint(sum)},
	}}}
}

// work works off a queue until it is told to stop.
func work(ctx context.Context, queue string) error {
	conn, err := dialMessageQueue()
	if err != nil {
		return err
	}
	defer conn.Close()
	client := pb.NewMessageQueueClient(conn)
	var waits pauses
	for ctx.Err() == nil {
		came, err := answerCalls(ctx, client, queue)
		if err != nil {
			told := failureOf(err)
			if !told.isTransient() {
				return err
			}
			say(fields{"resuming": queue, "reason": told.name()})
		}
		if came {
			waits = pauses{}
		}
		waits.wait(ctx, 0)
	}
	say(fields{"stopped": true})
	return nil
}

// answerCalls answers what comes; it ends with the stream, and tells whether anything came.
func answerCalls(ctx context.Context, client pb.MessageQueueClient, queue string) (came bool, err error) {
	// The stream outlives the signal to stop: it is ended by half-closing it.
	lasting, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := client.Consume(lasting)
	if err != nil {
		return false, err
	}
	answers := receive(lasting, stream.Recv)
	open := &pb.ConsumeOpen{Queue: queue, MaxInFlight: proto.Uint32(16)}
	// A send that fails does not say why: the end of the stream does, which comes next.
	_ = stream.Send(&pb.ConsumeRequest{Message: &pb.ConsumeRequest_Open{Open: open}})
	stopping := ctx.Done()
	for {
		if ctx.Err() != nil && stopping != nil {
			// Ends the deliveries; what was delivered but not begun goes to others at once.
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
				if stopping == nil {
					continue
				}
				if err := settleMessage(lasting, client, stream, queue, is.Delivery); err != nil {
					return came, err
				}
			case *pb.ConsumeResponse_Outcome:
				if refused := is.Outcome.GetError(); refused != nil {
					say(fields{"refused": is.Outcome.GetReceipt(), "message": refused.GetMessage()})
				}
			}
		}
	}
}

// settleMessage replies, which acks too, or acks where nobody waits for a reply. The client has the
// connection that the message came over.
func settleMessage(ctx context.Context, client pb.MessageQueueClient, stream pb.MessageQueue_ConsumeClient, queue string, delivery *pb.Delivery) error {
	content, id := answerTo(delivery.GetMessage()), delivery.GetMessage().GetId()
	if !delivery.GetExpectsReply() {
		ack := &pb.ConsumeAck{Receipts: []string{delivery.GetReceipt()}}
		_ = stream.Send(&pb.ConsumeRequest{Message: &pb.ConsumeRequest_Ack{Ack: ack}})
		return nil
	}
	request := &pb.ReplyRequest{Queue: queue, Receipt: delivery.GetReceipt(), Reply: content}
	err := retrying(ctx, id, deadline, func(ctx context.Context) error {
		_, err := client.Reply(ctx, request)
		return err
	})
	if err == nil {
		say(fields{"answered": id, "attempt": delivery.GetAttempt()})
		return nil
	}
	switch reason := failureOf(err).Reason; reason {
	case "ALREADY_REPLIED", "LEASE_LOST", "NO_REPLY_EXPECTED":
		// Nothing is left to do: it was answered, or is somebody else's.
		say(fields{"refused": id, "reason": reason})
		return nil
	}
	return err
}

// call calls a worker with each line of standard input, as in `[2, 3]`.
func call(ctx context.Context, queue string, timeout time.Duration) error {
	conn, err := dialMessageQueue()
	if err != nil {
		return err
	}
	defer conn.Close()
	client := pb.NewMessageQueueClient(conn)
	return eachLine(func(_ int, line string) error {
		message := &pb.Message{Type: "add", Body: &pb.Message_TextBody{TextBody: line}}
		var answer *pb.CallResponse
		request := &pb.CallRequest{Queue: queue, Message: message, Timeout: durationpb.New(timeout)}
		// The deadline is a little later than the service's own, whose error (CALL_TIMEOUT) tells
		// what became of the message. A call that fails otherwise may have been handled: this one
		// may be made again because adding twice does no harm.
		err := retrying(ctx, line, timeout+2*time.Second, func(ctx context.Context) (err error) {
			answer, err = client.Call(ctx, request)
			return err
		})
		if err != nil {
			return err
		}
		if refused := answer.GetReply().GetError(); refused != nil {
			say(fields{"call": line, "failed": refused.GetMessage()})
		} else {
			say(fields{"call": line, "reply": answer.GetReply().GetBody().GetTextBody()})
		}
		return nil
	})
}
