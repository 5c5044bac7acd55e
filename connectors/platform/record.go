package platform

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

const (
	codeNotEnded = "not_ended" // the execution has not ended in time

	maxPause = 5 * time.Second // between two requests for a record, if the server does not hold them open
)

type record struct {
	Request string
	Wait    time.Duration
}

var recordOperation = connectors.Define(connectors.Operation{
	Name: "record", Safe: true, HasStatus: true,
	Doc:    "Waits for the end of a requested execution and returns its record: `status`, `executionId`, `message`, times and counts. The call also succeeds if the execution failed, so check `doc.status`.",
	Sample: "- call: cloud.record\n  with: { request: \"${doc.request_id}\", wait: 1m }\n- if: ${doc.status == \"ERROR\"}\n  then:\n    - throw: ${doc.message}\n",
	With: []spec.Field{
		spec.String("request", func(r *record) *string { return &r.Request }, "Id of the request, as returned by `execute`.").Required(),
		spec.Duration("wait", func(r *record) *time.Duration { return &r.Wait },
			"How long to wait for the end of the execution. The call then fails with `not_ended`, which is retryable. Keep it below the `timeout` of the call.").Or(20 * time.Second).Max(10 * time.Minute),
	},
}, awaitRecord)

// ended contains the final statuses of executions.
var ended = map[string]bool{"COMPLETE": true, "COMPLETE_WARN": true, "ERROR": true, "ABORTED": true, "DISCARDED": true}

func awaitRecord(ctx context.Context, c *connection, w *record, call *connectors.Call) (*connectors.Result, error) {
	if w.Request == "" {
		return nil, badCall("record needs request")
	}
	path := "/ExecutionRecord/async/" + url.PathEscape(w.Request)
	until := time.Now().Add(w.Wait)
	seen := "no record yet"
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, maxPause) {
		asked := time.Now()
		status, answer, f := c.send(ctx, call, http.MethodGet, path, nil, max(0, until.Sub(asked)))
		if f != nil {
			return nil, f
		}
		if status != http.StatusAccepted {
			record, f := recordOf(status, answer)
			if f != nil {
				return nil, f
			}
			if record != nil {
				is, _ := record.Get("status")
				if ended[fmt.Sprint(is)] {
					return &connectors.Result{Doc: document.FromValue(record), Status: status}, nil
				}
				seen = fmt.Sprint(is)
			}
		}
		left := time.Until(until)
		if left <= 0 {
			f := connectors.Failf(codeNotEnded, true, nil, "execution request %s did not end within %s: %s", w.Request, w.Wait, seen)
			f.Status = status
			return nil, f
		}
		if time.Since(asked) > time.Second {
			continue // the server held the request open
		}
		select {
		case <-ctx.Done():
			return nil, connectors.Interrupted(ctx, http.MethodGet+" "+c.base+path)
		case <-time.After(min(pause, left)):
		}
	}
}

// recordOf returns the record in a response, or nil. Longs, which the API
// encodes as ["Long", n], become numbers, and @type is dropped.
func recordOf(status int, answer []byte) (*document.Object, *fault.Failure) {
	if !json.Valid(answer) {
		return nil, unreadable(status, answer, "a response that is not JSON")
	}
	result, _ := document.Key(document.Parse(string(answer)), "result")
	list, _ := document.Decode(result).([]any)
	if len(list) == 0 {
		return nil, nil
	}
	from, ok := document.Decode(list[0]).(*document.Object)
	if !ok {
		return nil, unreadable(status, answer, "an execution record that is not an object")
	}
	record := &document.Object{}
	for i := range from.Len() {
		key, v := from.At(i)
		if key == "@type" {
			continue
		}
		if pair, ok := document.Decode(v).([]any); ok && len(pair) == 2 && document.Decode(pair[0]) == "Long" {
			v = pair[1]
		}
		record.Set(key, v)
	}
	return record, nil
}
