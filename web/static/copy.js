// Copy buttons: each copies the text beside it. They are hidden without scripts.

document.documentElement.dataset.copies = "";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  const text = button?.closest(".copyable, .copied, .copied-line").querySelector("pre, code");
  if (!text) return;
  try {
    await navigator.clipboard.writeText(text.textContent.trimEnd());
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(text); // browsers give pages without TLS no access to the clipboard
    button.textContent = "Press Ctrl+C";
  }
  setTimeout(() => (button.textContent = "Copy"), 2000);
});
