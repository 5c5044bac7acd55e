package demo

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// maxBody is the largest body that the demo reads.
const maxBody = 1 << 20

// senders is the number of connections on which the shop sends events.
const senders = 32

// sender posts the shop's events, signed according to Standard Webhooks
// (https://www.standardwebhooks.com).
type sender struct {
	url    string
	secret []byte
	http   *http.Client
}

func newSender(atom *program) *sender {
	return &sender{
		url: atom.listen + "/shop/orders/changed", secret: atom.hookSecret,
		http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: senders}},
	}
}

// receipt is the part of a receipt that the demo reads.
type receipt struct {
	Execution string `json:"execution"`
	Status    string `json:"status"`
}

// send posts an event once and returns its receipt.
func (s *sender) send(ctx context.Context, order int, id string) (*receipt, error) {
	body := fmt.Appendf(nil, `{"id": %d}`, order)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, s.secret)
	fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", timestamp)
	req.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the event for order %d was answered %d: %s", order, resp.StatusCode, bytes.TrimSpace(text))
	}
	r := &receipt{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("read the receipt for order %d: %w", order, err)
	}
	return r, nil
}
