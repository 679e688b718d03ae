package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	pb "shop.example/stubs/eventstore/v1"
)

// appendLines appends each line of standard input as an event. Ids are chosen before the first try,
// so each retry is stored once. With the same prefix even running the program again is a retry.
func appendLines(ctx context.Context, topic, kind, prefix string) error {
	conn, err := dialEventStore()
	if err != nil {
		return err
	}
	defer conn.Close()
	store := pb.NewEventStoreClient(conn)
	return eachLine(func(number int, line string) error {
		event := &pb.Event{
			Id:      proto.String(fmt.Sprintf("%s-%d", prefix, number)),
			Type:    kind,
			Source:  proto.String("go"),
			Subject: proto.String(prefix),
			Data:    &pb.Event_TextData{TextData: line},
		}
		request := &pb.AppendRequest{Topic: topic, Events: []*pb.Event{event}}
		var answer *pb.AppendResponse
		err := retrying(ctx, event.GetId(), deadline, func(ctx context.Context) (err error) {
			answer, err = store.Append(ctx, request)
			return err
		})
		if err != nil {
			return err
		}
		say(fields{
			"appended":     event.GetId(),
			"sequence":     answer.GetFirstSequence(),
			"position":     answer.GetLastPosition(),
			"deduplicated": answer.GetDeduplicated(),
			// A number, if a newer service answers with a value that these stubs have no name for.
			"durability": answer.GetDurability().String(),
		})
		return nil
	})
}

// eachLine takes the lines of standard input as they come, numbered from 1.
func eachLine(do func(number int, line string) error) error {
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 2<<20)
	for number := 1; input.Scan(); number++ {
		if err := do(number, input.Text()); err != nil {
			return err
		}
	}
	return input.Err()
}

// read prints the events that are there: of a topic, or of one of its subjects.
func read(ctx context.Context, topic, subject string) error {
	conn, err := dialEventStore()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request := &pb.ReadRequest{Topic: topic}
	if subject != "" {
		request.Subject = proto.String(subject)
	}
	stream, err := pb.NewEventStoreClient(conn).Read(ctx, request)
	if err != nil {
		return err
	}
	for {
		answer, err := stream.Recv()
		if ended(err) {
			return nil
		}
		if err != nil {
			return err
		}
		show(answer.GetEvent())
	}
}

func show(recorded *pb.RecordedEvent) {
	event := recorded.GetEvent()
	say(fields{
		"sequence": recorded.GetSequence(),
		"position": recorded.GetPosition(),
		"id":       event.GetId(),
		"type":     event.GetType(),
		"text":     event.GetTextData(),
	})
}

// progress is the position of the last event that was handled, kept in a file. Kept in the same
// transaction as what a handler writes, it makes each event count exactly once.
type progress struct{ file, position string }

func loadProgress(file string) (*progress, error) {
	here := &progress{file: file}
	if file == "" {
		return here, nil
	}
	kept, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	here.position = strings.TrimSpace(string(kept))
	return here, nil
}

func (p *progress) move(position string) error {
	p.position = position
	if p.file == "" {
		return nil
	}
	beside := p.file + ".new"
	if err := os.WriteFile(beside, []byte(position), 0o644); err != nil {
		return err
	}
	return os.Rename(beside, p.file)
}

func (p *progress) start() *pb.Start {
	if p.position == "" {
		return &pb.Start{At: &pb.Start_Beginning{Beginning: &emptypb.Empty{}}}
	}
	return &pb.Start{At: &pb.Start_AfterPosition{AfterPosition: p.position}}
}

// subscribe prints events as they come, and goes on where it was whenever the stream breaks.
func subscribe(ctx context.Context, topic, file string) error {
	here, err := loadProgress(file)
	if err != nil {
		return err
	}
	conn, err := dialEventStore()
	if err != nil {
		return err
	}
	defer conn.Close()
	store := pb.NewEventStoreClient(conn)
	var waits pauses
	for ctx.Err() == nil {
		before := here.position
		err := follow(ctx, store, topic, here)
		if err != nil && ctx.Err() == nil {
			told := failureOf(err)
			switch {
			case told.Reason == "POSITION_TRIMMED" || told.Reason == "POSITION_BEYOND_HEAD":
				// Trimmed: events were missed, retention has removed them. Beyond the head: the
				// topic lost its end, and what stands there now may be new. In both cases what was
				// built from the events is to be built again, from what there is.
				say(fields{"starting_over": told.Reason, "metadata": told.Metadata})
				if err := here.move(""); err != nil {
					return err
				}
			case told.isTransient():
				say(fields{"resuming": here.position, "reason": told.name()})
			default:
				return err
			}
		}
		if here.position != before {
			waits = pauses{}
		}
		waits.wait(ctx, 0)
	}
	say(fields{"stopped": true})
	return nil
}

func follow(ctx context.Context, store pb.EventStoreClient, topic string, here *progress) error {
	// No deadline: it lasts. Keepalive tells when nobody is there any more.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start := &pb.TopicStart{Topic: topic, Start: here.start()}
	stream, err := store.Subscribe(ctx, &pb.SubscribeRequest{Topics: []*pb.TopicStart{start}})
	if err != nil {
		return err
	}
	for {
		answer, err := stream.Recv()
		if ended(err) {
			return nil
		}
		if err != nil {
			return err
		}
		// None of these is a kind of message that these stubs do not know yet.
		switch is := answer.GetMessage().(type) {
		case *pb.SubscribeResponse_Event:
			show(is.Event)
			err = here.move(is.Event.GetPosition())
		case *pb.SubscribeResponse_CaughtUp:
			say(fields{"caught_up": is.CaughtUp.GetTopic()})
		case *pb.SubscribeResponse_Heartbeat:
			if got := is.Heartbeat.GetTopics()[0]; got.Position != nil {
				err = here.move(got.GetPosition())
			}
		}
		if err != nil {
			return err
		}
	}
}
