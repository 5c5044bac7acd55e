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

// none stands for properties of the public API that records here do not have:
// a filter may ask for them.
func none(*call, *cloud.ExecutionRecord) any { return "" }

// documents and size give numbers of what came in or went out, nil where they
// are not known, or not yet.
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
	Name: "ExecutionRecord", ID: "executionId", Doc: "How an execution stands on its atom, or ended. Queries answer the newest first.",
	Properties: []property[*cloud.ExecutionRecord]{
		{Name: "executionId", Filter: true, Doc: "Its id.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.ID }},
		{Name: "account", Filter: true, Doc: "The account.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.Account }},
		{Name: "executionTime", Filter: true, Type: filter.Time, Doc: "When it began.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.Time.Truncate(time.Millisecond) }},
		{Name: "status", Filter: true, Doc: "How it stands.", Enum: []string{cloud.Aborted, cloud.Complete, cloud.CompleteWarn, cloud.Discarded, cloud.Enqueued, cloud.Failed, cloud.InProcess, cloud.Started},
			Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.Status }},
		{Name: "executionType", Filter: true, Doc: "What began it: exec_manual, exec_listener, exec_sched, retry_manual …", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.Type }},
		{Name: "processName", Filter: true, Doc: "The name of the process.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.ProcessName }},
		{Name: "processId", Filter: true, Doc: "The id of the process.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.ProcessID }},
		{Name: "atomName", Filter: true, Doc: "The name of the atom.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.AtomName }},
		{Name: "atomId", Filter: true, Doc: "The id of the atom.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.AtomID }},
		{Name: "inboundDocumentCount", Filter: true, Type: filter.Number, Doc: "1 if it was started with a document, otherwise 0. Not there before it has ended, or where it is not known.",
			Of: func(_ *call, r *cloud.ExecutionRecord) any { return documents(r, true) }},
		{Name: "inboundErrorDocumentCount", Filter: true, Type: filter.Number, Doc: "Of these, how many ended in an error.", Of: func(_ *call, r *cloud.ExecutionRecord) any {
			n := documents(r, true)
			if n != nil && r.Status != cloud.Failed {
				return 0
			}
			return n
		}},
		{Name: "outboundDocumentCount", Filter: true, Type: filter.Number, Doc: "Documents that its calls have written, and its reply; likewise.",
			Of: func(_ *call, r *cloud.ExecutionRecord) any { return documents(r, false) }},
		{Name: "inboundDocumentSize", Filter: true, Long: true, Type: filter.Number, Doc: "The bytes of what came in; likewise.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return size(r, true) }},
		{Name: "outboundDocumentSize", Filter: true, Long: true, Type: filter.Number, Doc: "The bytes of what went out; likewise.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return size(r, false) }},
		{Name: "executionDuration", Filter: true, Long: true, Type: filter.Number, Doc: "How long it took, in milliseconds, once it has ended.", Of: func(_ *call, r *cloud.ExecutionRecord) any {
			if !r.Ended() {
				return nil
			}
			return int(r.Duration.Milliseconds())
		}},
		{Name: "message", Filter: true, Doc: "Why it failed.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.Message }},
		{Name: "originalExecutionId", Filter: true, Doc: "The execution that this one repeats.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.OriginalID }},
		{Name: "recordedDate", Filter: true, Type: filter.Time, Doc: "When it began; the time of the record itself is not kept.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.Time.Truncate(time.Millisecond) }},
		{Name: "requestId", Filter: true, Doc: "The execution request that asked for it. An addition.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return r.RequestID }},
		{Name: "atomExecutionId", Doc: "The id that it has on its atom. An addition.", Of: func(_ *call, r *cloud.ExecutionRecord) any {
			if strings.HasPrefix(r.Execution, "none-") { // it never came to one
				return ""
			}
			return r.Execution
		}},
		{Name: "document", Doc: "Its reply or last document, where the environment's policy sends documents: the text of an object with media_type, size and data, text or base64. An addition.", Of: func(_ *call, r *cloud.ExecutionRecord) any { return string(r.Document) }},
		{Name: "launcherId", Filter: true, Hidden: true, Doc: "There are no launchers.", Of: none},
		{Name: "reportKey", Filter: true, Hidden: true, Doc: "There are no report keys.", Of: none},
		{Name: "nodeId", Filter: true, Hidden: true, Doc: "An atom is one node.", Of: none},
	},
	Rules: map[verb]cloud.Action{verbGet: "execution.read", verbBulk: "execution.read", verbQuery: "execution.read"},
	Get: func(c *call, id string) (*cloud.ExecutionRecord, error) {
		return c.service.Record(c.ctx, c.who, id)
	},
	Page: pageOfRecords,
}

// maxRounds bounds how much a query looks through for one page; then it
// answers what it has, with a token.
const maxRounds = 50

// pageOfRecords reads records until there are enough for a page. What the
// store can choose by is handed down to it.
func pageOfRecords(c *call, f filter.Filter, passes func(*cloud.ExecutionRecord) bool, cursor string) (page[*cloud.ExecutionRecord], error) {
	var p page[*cloud.ExecutionRecord]
	var after cloud.Place
	if cursor != "" {
		if _, err := fmt.Sscanf(cursor, "%d.%d", &after.Time, &after.Seq); err != nil {
			return p, refuse(400, "the query token is not one of ExecutionRecord")
		}
	}
	want := chosen(f)
	for range maxRounds {
		found, next, err := c.service.Records(c.ctx, c.who, want, after, pageSize-len(p.Items))
		if err != nil {
			return p, err
		}
		for _, r := range found {
			if passes(r) {
				p.Items = append(p.Items, r)
			}
		}
		if next == (cloud.Place{}) {
			return p, nil
		}
		if after = next; len(p.Items) == pageSize {
			break
		}
	}
	p.Cursor = fmt.Sprintf("%d.%d", after.Time, after.Seq)
	return p, nil
}

// chosen is what a store can choose records by.
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
		want.To = want.To.Add(time.Millisecond) // the store's bound is open, and finer
	}
	return want
}

var auditObject = &object[cloud.AuditEntry]{
	Name: "AuditLog", ID: "documentId", Doc: "Who changed what, when and from where. Queries answer the newest first.",
	Properties: []property[cloud.AuditEntry]{
		{Name: "documentId", Attr: true, Doc: "Its number.", Of: func(_ *call, e cloud.AuditEntry) any { return strconv.FormatInt(e.ID, 10) }},
		{Name: "date", Filter: true, Type: filter.Time, Doc: "When.", Of: func(_ *call, e cloud.AuditEntry) any { return e.At.Truncate(time.Millisecond) }},
		{Name: "userId", Filter: true, Doc: "Who.", Of: func(_ *call, e cloud.AuditEntry) any { return e.Who }},
		{Name: "type", Filter: true, Doc: "What kind of thing was changed.", Of: func(_ *call, e cloud.AuditEntry) any { t, _, _ := strings.Cut(e.Action, "."); return t }},
		{Name: "action", Filter: true, Doc: "What was done.", Of: func(_ *call, e cloud.AuditEntry) any { return e.Action }},
		{Name: "objectId", Filter: true, Doc: "What it was done to. An addition.", Of: func(_ *call, e cloud.AuditEntry) any { return e.Object }},
		{Name: "message", Filter: true, Doc: "More of it.", Of: func(_ *call, e cloud.AuditEntry) any { return e.Detail }},
		{Name: "source", Filter: true, Doc: "From where: an address.", Of: func(_ *call, e cloud.AuditEntry) any { return e.From }},
		{Name: "accountId", Filter: true, Doc: "The account.", Of: func(_ *call, e cloud.AuditEntry) any { return e.Account }},
		{Name: "level", Filter: true, Doc: "INFO, always.", Of: func(*call, cloud.AuditEntry) any { return "INFO" }},
	},
	Rules: map[verb]cloud.Action{verbQuery: "audit.read"},
	Page:  pageOfAudit,
}

// pageOfAudit reads the audit log until there is enough for a page.
func pageOfAudit(c *call, _ filter.Filter, passes func(cloud.AuditEntry) bool, cursor string) (page[cloud.AuditEntry], error) {
	var p page[cloud.AuditEntry]
	var below int64
	if cursor != "" {
		var err error
		if below, err = strconv.ParseInt(cursor, 10, 64); err != nil {
			return p, refuse(400, "the query token is not one of AuditLog")
		}
	}
	for range maxRounds {
		found, next, err := c.service.AuditLog(c.ctx, c.who, below, pageSize-len(p.Items))
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

// record gives an execution record as an element of another answer.
func (c *call) record(r *cloud.ExecutionRecord) *codec.Object { return recordObject.encode(c, r) }
