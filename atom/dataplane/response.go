package dataplane

import (
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"time"

	"valence/atom"
	"valence/internal/blob"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/problem"
	"valence/internal/soap"
)

// writeReply responds with the reply of a request/reply process.
func (req *request) writeReply(r *atom.Reply) {
	h := req.w.Header()
	h["Correlation-Id"] = []string{req.message.CorrelationID}
	if r.Execution != "" {
		h["X-Execution-Id"] = []string{r.Execution}
		req.execution = r.Execution
	}
	isSOAP := req.endpoint.listen.Service != nil
	if r.None || r.Doc == nil {
		if isSOAP {
			req.refuse(noReply(r.Execution))
			return
		}
		req.write(http.StatusOK, "", nil)
		return
	}
	status := r.Status
	if status == 0 {
		status = http.StatusOK
	}
	if req.endpoint.listen.Output == "binary" && blob.IsReference(r.Doc) && status >= 200 && status <= 599 {
		req.writeFile(status, r)
		return
	}
	body, media, err := convert.Render(req.scope(), r.Doc, req.endpoint.listen.Output, req.endpoint.deployed.Process.Namespaces)
	if err != nil || status < 200 || status > 599 {
		req.server.log.Error("cannot send reply", "process", req.endpoint.process, "execution", r.Execution, "status", status, "error", err)
		p := problem.Internal()
		p.Execution = r.Execution
		req.refuse(p)
		return
	}
	if isSOAP {
		req.writeSOAP(status, setHeaders(h, r.Headers, soap.MediaType(req.version)), r.Blocks, body)
		return
	}
	req.write(status, setHeaders(h, r.Headers, media), body)
}

// fileBuffer is the most of a stored file that is in memory while it is sent.
const fileBuffer = 256 << 10

// writeFile responds with a stored file. The response is cut off if the file turns
// out to be damaged.
func (req *request) writeFile(status int, r *atom.Reply) {
	file, err := blob.Body(req.scope(), r.Doc)
	var content io.ReadCloser
	if err == nil {
		content, err = file.Open()
	}
	if err != nil {
		req.server.log.Error("cannot send reply", "process", req.endpoint.process, "execution", r.Execution, "error", err)
		p := problem.Internal()
		p.Execution = r.Execution
		req.refuse(p)
		return
	}
	defer content.Close()
	h := req.w.Header()
	req.head(setHeaders(h, r.Headers, file.MediaType))
	req.status = status
	if !bodyAllowed(status) {
		req.w.WriteHeader(status)
		return
	}
	h["Content-Length"] = []string{strconv.FormatInt(file.Size, 10)}
	req.w.WriteHeader(status)
	if req.r.Method == http.MethodHead {
		return
	}
	start, buffer := time.Now(), make([]byte, fileBuffer)
	for err == nil {
		var n int
		if n, err = content.Read(buffer); n > 0 {
			// The caller must read at minBodyRate, as for other bodies.
			req.setWriteDeadline(start.Add(responseTimeout + time.Duration(req.size+n)*time.Second/minBodyRate))
			if _, gone := req.w.Write(buffer[:n]); gone != nil {
				return
			}
			req.size += n
		}
	}
	if err != io.EOF {
		req.server.log.Error("cannot send reply", "process", req.endpoint.process, "execution", r.Execution, "sent", req.size, "error", err)
	}
}

// setHeaders adds the headers set by the process, except those that control the
// connection. It returns the media type, which the process may override.
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

// writeAcknowledgement responds with the receipt, or with the response
// configured by the listener's `ack:`.
func (req *request) writeAcknowledgement(a *atom.Acknowledgement) {
	h := req.w.Header()
	if a.Execution != "" {
		h["X-Execution-Id"] = []string{a.Execution}
		req.execution = a.Execution
	}
	if a.CorrelationID != "" {
		h["Correlation-Id"] = []string{a.CorrelationID}
	}
	if req.endpoint.listen.Service != nil {
		req.write(http.StatusAccepted, "", nil)
		return
	}
	if a.Answer == nil {
		req.write(http.StatusOK, "application/json", receipt(a))
		return
	}
	status := a.Answer.Status
	if status == 0 {
		status = http.StatusOK
	}
	if status < 200 || status > 599 {
		req.server.log.Error("ack: status cannot be sent", "process", a.Process, "status", status)
		status = http.StatusOK
	}
	if a.Answer.Body == nil {
		req.write(status, setHeaders(h, a.Answer.Headers, "application/json"), receipt(a))
		return
	}
	media := a.Answer.Body.MediaType()
	req.write(status, setHeaders(h, a.Answer.Headers, media), a.Answer.Body.Body())
}

// receipt encodes an acknowledgement as JSON.
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
	b = a.ReceivedAt.UTC().AppendFormat(b, timeFormat)
	b = append(b, '"')
	text("sha256", a.SHA256)
	text("location", a.Location)
	text("reply_token", a.ReplyToken)
	text("correlation_id", a.CorrelationID)
	return append(b, '}', '\n')
}

const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// progress encodes the progress of an execution as JSON.
func progress(p *atom.Progress) []byte {
	b := document.AppendString(append(make([]byte, 0, 256), `{"execution":`...), p.Execution)
	b = document.AppendString(append(b, `,"process":`...), p.Process)
	b = document.AppendString(append(b, `,"status":`...), p.Status)
	times := func(name string, t time.Time) {
		if !t.IsZero() {
			b = append(append(append(b, `,"`...), name...), `":"`...)
			b = append(t.UTC().AppendFormat(b, timeFormat), '"')
		}
	}
	times("received_at", p.ReceivedAt)
	times("ended_at", p.EndedAt)
	return append(b, '}', '\n')
}
