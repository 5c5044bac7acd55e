package listener

import (
	"net/http"
	"net/textproto"
	"time"

	"valence/atom"
	"valence/internal/answer"
	"valence/internal/document"
)

// answer sends what a request/reply process replied.
func (x *exchange) answer(r *atom.Reply) {
	h := x.w.Header()
	h["Correlation-Id"] = []string{x.arrival.CorrelationID}
	if r.Execution != "" {
		h["X-Execution-Id"] = []string{r.Execution}
		x.execution = r.Execution
	}
	if r.None || r.Doc == nil {
		x.write(http.StatusOK, "", nil)
		return
	}
	status := r.Status
	if status == 0 {
		status = http.StatusOK
	}
	body, media, err := answer.Render(r.Doc, x.endpoint.listen.Output)
	if err != nil || status < 200 || status > 599 {
		x.server.log.Error("a reply cannot be sent", "process", x.endpoint.process, "execution", r.Execution, "status", status, "error", err)
		p := internal()
		p.execution = r.Execution
		x.refuse(p)
		return
	}
	x.write(status, setHeaders(h, r.Headers, media), body)
}

// setHeaders adds the headers that an author chose, except those that belong
// to the connection. It gives the media type, which they may change.
func setHeaders(h http.Header, headers []atom.KV, media string) string {
	for _, kv := range headers {
		name := textproto.CanonicalMIMEHeaderKey(kv.Name)
		switch name {
		case "Content-Type":
			media = kv.Value
		case "Connection", "Content-Length", "Transfer-Encoding", "Trailer", "Upgrade", "Keep-Alive", "Te", "Proxy-Connection", "X-Execution-Id":
		default:
			h[name] = append(h[name], kv.Value)
		}
	}
	return media
}

// acknowledge sends the receipt, or the answer that the listener's ack describes.
func (x *exchange) acknowledge(a *atom.Acknowledgement) {
	h := x.w.Header()
	if a.Execution != "" {
		h["X-Execution-Id"] = []string{a.Execution}
		x.execution = a.Execution
	}
	if a.CorrelationID != "" {
		h["Correlation-Id"] = []string{a.CorrelationID}
	}
	if a.Answer == nil {
		x.write(http.StatusOK, "application/json", receipt(a))
		return
	}
	status := a.Answer.Status
	if status == 0 {
		status = http.StatusOK
	}
	if status < 200 || status > 599 {
		x.server.log.Error("ack: has a status that cannot be sent", "process", a.Process, "status", status)
		status = http.StatusOK
	}
	if a.Answer.Body == nil {
		x.write(status, setHeaders(h, a.Answer.Headers, "application/json"), receipt(a))
		return
	}
	media := a.Answer.Body.MediaType()
	x.write(status, setHeaders(h, a.Answer.Headers, media), a.Answer.Body.Body())
}

// receipt writes what was promised to the sender.
func receipt(a *atom.Acknowledgement) []byte {
	b := append(make([]byte, 0, 448), '{')
	text := func(name, value string) {
		if value == "" {
			return
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), name...), `":`...)
		b = document.AppendString(b, value)
	}
	text("execution", a.Execution)
	text("process", a.Process)
	text("status", a.Status)
	b = append(b, `,"received_at":"`...)
	b = a.ReceivedAt.UTC().AppendFormat(b, stamp)
	b = append(b, '"')
	text("sha256", a.SHA256)
	text("location", a.Location)
	text("reply_token", a.ReplyToken)
	text("correlation_id", a.CorrelationID)
	return append(b, '}', '\n')
}

const stamp = "2006-01-02T15:04:05.000Z07:00"

// progress writes what a sender may know of an execution.
func progress(p *atom.Progress) []byte {
	b := document.AppendString(append(make([]byte, 0, 256), `{"execution":`...), p.Execution)
	b = document.AppendString(append(b, `,"process":`...), p.Process)
	b = document.AppendString(append(b, `,"status":`...), p.Status)
	times := func(name string, t time.Time) {
		if !t.IsZero() {
			b = append(append(append(b, `,"`...), name...), `":"`...)
			b = append(t.UTC().AppendFormat(b, stamp), '"')
		}
	}
	times("received_at", p.ReceivedAt)
	times("ended_at", p.EndedAt)
	return append(b, '}', '\n')
}
