package platform

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"valence/cloud"
	"valence/cloud/platform/codec"
	"valence/cloud/platform/filter"
)

// none is the value of public API properties that records lack here. Filters may
// still name them.
func none(*call, *cloud.ExecutionRecord) any { return "" }

// documents and size return the number and size of inbound or outbound
// documents; nil if unknown.
func documents(r *cloud.ExecutionRecord, in bool) any {
	if n, _, known := r.Traffic(in); known {
		return n
	}
	return nil
}

func size(r *cloud.ExecutionRecord, in bool) any {
	if _, n, known := r.Traffic(in); known {
		return n
	}
	return nil
}

var recordObject = &object[*cloud.ExecutionRecord]{
	Name: "ExecutionRecord", ID: "executionId", Doc: "The state or result of an execution. Queries return the newest first.",
	Properties: []property[*cloud.ExecutionRecord]{
		{Name: "executionId", Filter: true, Doc: "The id.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.ID }},
		{Name: "account", Filter: true, Doc: "The account.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.Account }},
		{Name: "executionTime", Filter: true, Type: filter.Time, Doc: "The start time.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.Time.Truncate(time.Millisecond) }},
		{Name: "status", Filter: true, Doc: "The status.", Enum: []string{cloud.Aborted, cloud.Complete, cloud.CompleteWarn, cloud.Discarded, cloud.Enqueued, cloud.Failed, cloud.InProcess, cloud.Started},
			Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.Status }},
		{Name: "executionType", Filter: true, Doc: "The cause: exec_manual, exec_listener, exec_sched, retry_manual …", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.Type }},
		{Name: "processName", Filter: true, Doc: "The name of the process.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.ProcessName }},
		{Name: "processId", Filter: true, Doc: "The id of the process.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.ProcessID }},
		{Name: "atomName", Filter: true, Doc: "The name of the atom.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.AtomName }},
		{Name: "atomId", Filter: true, Doc: "The id of the atom.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.AtomID }},
		{Name: "inboundDocumentCount", Filter: true, Type: filter.Number, Doc: "1 if the execution started with a document, otherwise 0. Absent while it runs or if unknown.",
			Of: func(_ *call, r *cloud.ExecutionRecord) any { return documents(r, true) }},
		{Name: "inboundErrorDocumentCount", Filter: true, Type: filter.Number, Doc: "The number of inbound documents that ended in an error.", Of: func(_ *call, r *cloud.ExecutionRecord) any {
			n := documents(r, true)
			if n != nil && r.Status != cloud.Failed {
				return 0
			}
			return n
		}},
		{Name: "outboundDocumentCount", Filter: true, Type: filter.Number, Doc: "The number of documents sent by calls and replies. Absent while it runs or if unknown.",
			Of: func(_ *call, r *cloud.ExecutionRecord) any { return documents(r, false) }},
		{Name: "inboundDocumentSize", Filter: true, Long: true, Type: filter.Number, Doc: "The size of the inbound document in bytes. Absent if unknown.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return size(r, true) }},
		{Name: "outboundDocumentSize", Filter: true, Long: true, Type: filter.Number, Doc: "The size of the outbound documents in bytes. Absent if unknown.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return size(r, false) }},
		{Name: "executionDuration", Filter: true, Long: true, Type: filter.Number, Doc: "The duration in milliseconds, after the end.", Of: func(_ *call, r *cloud.ExecutionRecord) any {
			if !r.Ended() {
				return nil
			}
			return int(r.Duration.Milliseconds())
		}},
		{Name: "message", Filter: true, Doc: "The error message.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.Message }},
		{Name: "originalExecutionId", Filter: true, Doc: "The execution that was resubmitted as this one.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.OriginalID }},
		{Name: "resubmittedExecutionId", Doc: "The execution that ran this failed one again. Extension.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.ResubmittedAs }},
		{Name: "recordedDate", Filter: true, Type: filter.Time, Doc: "The start time; the time of the record itself is not stored.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.Time.Truncate(time.Millisecond) }},
		{Name: "requestId", Filter: true, Doc: "The execution request. Extension.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.RequestID }},
		{Name: "atomExecutionId", Doc: "The id of the execution on its atom. Extension.", Of: func(_ *call, r *cloud.ExecutionRecord) any {
			if strings.HasPrefix(r.Execution, "none-") { // no execution was started
				return ""
			}
			return r.Execution
		}},
		{Name: "document", Doc: "The reply or last document, if the environment's policy sends documents: the text of an object with media_type, size and data, text or base64. Extension.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return string(r.Document) }},
		{Name: "launcherId", Filter: true, Hidden: true, Doc: "Launchers do not exist here.", Of: none},
		{Name: "reportKey", Filter: true, Hidden: true, Doc: "Report keys do not exist here.", Of: none},
		{Name: "nodeId", Filter: true, Hidden: true, Doc: "An atom is one node.", Of: none},
	},
	Rules: map[verb]cloud.Action{verbGet: "execution.read", verbBulk: "execution.read", verbQuery: "execution.read"},
	Get: func(c *call, id string) (*cloud.ExecutionRecord, error) {
		return c.service.Executions.Record(c.ctx, c.who, id)
	},
	Page: pageOfRecords,
}

// maxRounds bounds the reads for one page. After that the query returns the
// matches so far and a token.
const maxRounds = 50

// pageOfRecords reads records until a page is full. Conditions that the store
// supports are passed to it.
func pageOfRecords(c *call, f filter.Filter, passes func(*cloud.ExecutionRecord) bool, cursor string) (page[*cloud.ExecutionRecord], error) {
	var p page[*cloud.ExecutionRecord]
	var after cloud.Cursor
	if cursor != "" {
		if _, err := fmt.Sscanf(cursor, "%d.%d", &after.Time, &after.Seq); err != nil {
			return p, refuse(400, "not a query token of ExecutionRecord")
		}
	}
	want := chosen(f)
	for range maxRounds {
		found, next, err := c.service.Executions.Records(c.ctx, c.who, want, after, pageSize-len(p.Items))
		if err != nil {
			return p, err
		}
		for _, r := range found {
			if passes(r) {
				p.Items = append(p.Items, r)
			}
		}
		if next == (cloud.Cursor{}) {
			return p, nil
		}
		if after = next; len(p.Items) == pageSize {
			break
		}
	}
	p.Cursor = fmt.Sprintf("%d.%d", after.Time, after.Seq)
	return p, nil
}

// chosen returns the part of a filter that a store can evaluate.
func chosen(f filter.Filter) cloud.RecordFilter {
	exact := func(property string, form func(string) string) string {
		v, _ := f.Exact(property)
		return form(v)
	}
	want := cloud.RecordFilter{
		ID: exact("executionId", strings.ToLower), RequestID: exact("requestId", strings.ToLower), AtomID: exact("atomId", strings.ToLower),
		ProcessID: exact("processId", strings.ToLower), Status: exact("status", strings.ToUpper),
	}
	want.From, want.To = f.Bounds("executionTime")
	if !want.To.IsZero() {
		want.To = want.To.Add(time.Millisecond) // the store's bound is exclusive and finer
	}
	return want
}

var auditObject = &object[cloud.AuditEntry]{
	Name: "AuditLog", ID: "documentId", Doc: "The changes with user, time and address. Queries return the newest first.",
	Properties: []property[cloud.AuditEntry]{
		{Name: "documentId", Attr: true, Doc: "The number of the entry.", Of: func(_ *call, e cloud.AuditEntry) any { return strconv.FormatInt(e.ID, 10) }},
		{Name: "date", Filter: true, Type: filter.Time, Doc: "When.", Of: func(_ *call, e cloud.AuditEntry) any { return e.At.Truncate(time.Millisecond) }},
		{Name: "userId", Filter: true, Doc: "Who.", Of: func(_ *call, e cloud.AuditEntry) any { return e.Who }},
		{Name: "type", Filter: true, Doc: "The type of the changed object.", Of: func(_ *call, e cloud.AuditEntry) any { t, _, _ := strings.Cut(e.Action, "."); return t }},
		{Name: "action", Filter: true, Doc: "The action.", Of: func(_ *call, e cloud.AuditEntry) any { return e.Action }},
		{Name: "objectId", Filter: true, Doc: "The changed object. Extension.", Of: func(_ *call, e cloud.AuditEntry) any { return e.Object }},
		{Name: "message", Filter: true, Doc: "Details.", Of: func(_ *call, e cloud.AuditEntry) any { return e.Detail }},
		{Name: "source", Filter: true, Doc: "The client's address.", Of: func(_ *call, e cloud.AuditEntry) any { return e.From }},
		{Name: "accountId", Filter: true, Doc: "The account.", Of: func(_ *call, e cloud.AuditEntry) any { return e.Account }},
		{Name: "level", Filter: true, Doc: "INFO, always.", Of: func(*call, cloud.AuditEntry) any { return "INFO" }},
	},
	Rules: map[verb]cloud.Action{verbQuery: "audit.read"},
	Page:  pageOfAudit,
}

// pageOfAudit reads the audit log until a page is full.
func pageOfAudit(c *call, _ filter.Filter, passes func(cloud.AuditEntry) bool, cursor string) (page[cloud.AuditEntry], error) {
	var p page[cloud.AuditEntry]
	var below int64
	if cursor != "" {
		var err error
		if below, err = strconv.ParseInt(cursor, 10, 64); err != nil {
			return p, refuse(400, "not a query token of AuditLog")
		}
	}
	for range maxRounds {
		found, next, err := c.service.Audit.List(c.ctx, c.who, below, pageSize-len(p.Items))
		if err != nil {
			return p, err
		}
		for _, e := range found {
			if passes(e) {
				p.Items = append(p.Items, e)
			}
		}
		if next == 0 {
			return p, nil
		}
		if below = next; len(p.Items) == pageSize {
			break
		}
	}
	p.Cursor = strconv.FormatInt(below, 10)
	return p, nil
}

// record encodes an execution record for use in another response.
func (c *call) record(r *cloud.ExecutionRecord) *codec.Object { return recordObject.encode(c, r) }
