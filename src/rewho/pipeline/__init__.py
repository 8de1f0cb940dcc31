"""What several stages share: pictures → embeddings → ranking → report; stands between the stages and the parts."""
